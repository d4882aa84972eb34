/// What can be asked of a store; a streaming put is three things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `put_new`.
    Put,
    /// `put_stream`.
    OpenStream,
    /// `ObjectWriter::write`.
    WriteStream,
    /// `ObjectWriter::finish`.
    FinishStream,
    /// `put_file`.
    PutFile,
    /// `get`.
    Get,
    /// `head`.
    Head,
    /// `list`.
    List,
    /// `delete_many`.
    Delete,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 9] = [
        Self::Put,
        Self::OpenStream,
        Self::WriteStream,
        Self::FinishStream,
        Self::PutFile,
        Self::Get,
        Self::Head,
        Self::List,
        Self::Delete,
    ];

    /// Its name in errors and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::OpenStream => "open_stream",
            Self::WriteStream => "write_stream",
            Self::FinishStream => "finish_stream",
            Self::PutFile => "put_file",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// True where an unanswered request may have changed the store.
    pub fn changes(self) -> bool {
        matches!(self, Self::Put | Self::FinishStream | Self::PutFile | Self::Delete)
    }
}
