#[derive(Default)]
pub(crate) struct Keeper {}
