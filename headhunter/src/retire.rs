/// A stretch of time: views taken in it hold it.
pub(crate) struct Generation;
