/// Verbs of [`ObjectStore`](crate::ObjectStore) that a wrapper leaves to the store in one of its
/// fields: `forward!((inner): put_stream, get, head);` within the `impl`.
#[macro_export]
macro_rules! forward {
    ($to:tt: $($verb:ident),+ $(,)?) => { $($crate::forward!(@$verb $to);)+ };
    (@put_new ($($to:ident).+)) => {
        fn put_new<'a>(
            &'a self,
            name: &'a $crate::ObjectName,
            body: Vec<::bytes::Bytes>,
        ) -> $crate::StoreFuture<'a, ()> {
            self.$($to).+.put_new(name, body)
        }
    };
    (@put_stream ($($to:ident).+)) => {
        fn put_stream<'a>(
            &'a self,
            name: &'a $crate::ObjectName,
        ) -> $crate::StoreFuture<'a, Box<dyn $crate::ObjectWriter>> {
            self.$($to).+.put_stream(name)
        }
    };
    (@put_file ($($to:ident).+)) => {
        fn put_file<'a>(
            &'a self,
            name: &'a $crate::ObjectName,
            file: &'a ::std::path::Path,
            len: u64,
        ) -> $crate::StoreFuture<'a, ()> {
            self.$($to).+.put_file(name, file, len)
        }
    };
    (@get ($($to:ident).+)) => {
        fn get<'a>(
            &'a self,
            name: &'a $crate::ObjectName,
            range: ::std::ops::Range<u64>,
        ) -> $crate::StoreFuture<'a, ::bytes::Bytes> {
            self.$($to).+.get(name, range)
        }
    };
    (@head ($($to:ident).+)) => {
        fn head<'a>(
            &'a self,
            name: &'a $crate::ObjectName,
        ) -> $crate::StoreFuture<'a, $crate::ObjectInfo> {
            self.$($to).+.head(name)
        }
    };
    (@list ($($to:ident).+)) => {
        fn list<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<&'a str>,
            limit: usize,
        ) -> $crate::StoreFuture<'a, Vec<$crate::ObjectName>> {
            self.$($to).+.list(prefix, after, limit)
        }
    };
    (@delete_many ($($to:ident).+)) => {
        fn delete_many<'a>(
            &'a self,
            names: &'a [$crate::ObjectName],
        ) -> $crate::StoreFuture<'a, Vec<Result<(), $crate::StoreError>>> {
            self.$($to).+.delete_many(names)
        }
    };
    (@sweep ($($to:ident).+)) => {
        fn sweep(&self) -> $crate::StoreFuture<'_, usize> {
            self.$($to).+.sweep()
        }
    };
    (@distrust ($($to:ident).+)) => {
        fn distrust(&self) {
            self.$($to).+.distrust();
        }
    };
    (@streams ($($to:ident).+)) => {
        fn streams(&self) -> bool {
            self.$($to).+.streams()
        }
    };
    (@attests ($($to:ident).+)) => {
        fn attests(&self) -> bool {
            self.$($to).+.attests()
        }
    };
    (@class ($($to:ident).+)) => {
        fn class(&self) -> $crate::StoreClass {
            self.$($to).+.class()
        }
    };
    (@capacity ($($to:ident).+)) => {
        fn capacity(&self) -> Option<$crate::Capacity> {
            self.$($to).+.capacity()
        }
    };
    (@local_dir ($($to:ident).+)) => {
        fn local_dir(&self) -> Option<&::std::path::Path> {
            self.$($to).+.local_dir()
        }
    };
}
