//! What the gate is told, and what it wants done.

use std::time::Duration;

/// What one change has brought: its build and its server. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// One request of a client; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u64);

/// What is asked of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A command runs before the server is started.
    pub build: bool,
    /// The last server answers until the next one can. Each has an address of its own then.
    pub overlap: bool,
    /// So long a server may take to answer for the first time.
    pub ready_timeout: Duration,
    /// So long a process may take to end when it is asked to; also what requests in progress get before that: with overlap
    /// all of them, else those that are bound to their server.
    pub stop_timeout: Duration,
    /// So many requests wait at a time.
    pub hold_limit: usize,
    /// So long a request waits, or goes from one server that loses it to the next: from its first wait or loss on.
    pub hold_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            build: false,
            overlap: false,
            ready_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(2),
            hold_limit: 256,
            hold_timeout: Duration::from_secs(30),
        }
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Style sheets, and nothing else.
    Styles,
    /// Anything.
    Files,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Files have changed, and have settled. The first one is the program's own start.
    Changed(Change),
    /// A build has ended, well or not, and nothing is left of its processes.
    Built(Generation, bool),
    /// It cannot be built or started at all: there is no such program, or the port is somebody else's.
    CannotRun(Generation),
    /// A server has answered.
    Answered(Generation),
    /// A server has ended, without being asked. Its processes may still be there.
    Exited(Generation),
    /// Nothing is left of a generation's processes.
    Gone(Generation),
    /// A client asks for something.
    Came(Request),
    /// A client has got its answer, or has gone.
    Done(Request),
    /// The server that a request went to has not answered it. [`may_replay`](super::may_replay) tells whether it may go to another.
    Lost(Request, bool),
    /// Whether only the server that has a request can answer it, and will in a time that can be waited for: it may have
    /// been done already, or its answer has begun.
    Bound(Request, bool),
    /// We are to end; a second time: now.
    Stop,
    /// The time of [`Gate::deadline`](super::Gate::deadline) has come.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the build; report `Built` or `CannotRun`.
    Build(Generation),
    /// Start the server; report `CannotRun`, or `Answered`, `Exited` and, in the end, `Gone`.
    Start(Generation),
    /// Ask all processes of a generation to end.
    End(Generation),
    /// Kill all processes of a generation.
    Kill(Generation),
    /// A generation could not be killed; what waits for its end waits no longer. Its `Gone` may come yet.
    GiveUp(Generation),
    /// This server answers the request.
    Forward(Request, Generation),
    /// We answer the request.
    Refuse(Request, Why),
    /// All browsers load anew what has changed.
    Reload(Change),
    /// All browsers show that the change has failed; what they show stays.
    Alert,
    /// We end.
    Exit,
}

/// Why a request is answered by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no server, and none will be before a file changes: 503.
    Failed,
    /// Too many wait: 503, try again.
    Full,
    /// It has waited long enough: 504.
    TooLong,
    /// The server has not answered it: 502.
    Lost,
    /// We end: 503.
    Ending,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The build runs.
    Building,
    /// The server runs and has not answered yet.
    Starting,
    /// There is a server.
    Up,
    /// There is none, until a file changes.
    Failed,
    /// Processes are to end before anything else can begin.
    Stopping,
}
