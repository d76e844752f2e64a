//! `flow`.

use clap::Subcommand;

/// `flow`.
#[derive(Clone, Debug, Subcommand)]
pub enum FlowCommand {
    /// Show all flows with what they are behind, hold and left out
    List,
    /// Show what one does: how far it is, what holds it up, and its plan
    Describe {
        /// The flow
        name: String,
    },
    /// Remove it with its state; what it made stays where it is
    Delete {
        /// The flow
        name: String,
    },
    /// Have it stand still; what is under way is finished
    Pause {
        /// The flow
        name: String,
    },
    /// Have it go on where it stopped
    Resume {
        /// The flow
        name: String,
    },
    /// Have it begin anew; what it made before stays where it is
    Restart {
        /// The flow
        name: String,
        /// With this sequence
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["from_time", "from_end", "from_beginning"])]
        from_seq: Option<u64>,
        /// With the first message stored at this time or later, such as 2026-01-01T00:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with_all = ["from_end", "from_beginning"])]
        from_time: Option<String>,
        /// With what comes from now on
        #[arg(long, conflicts_with = "from_beginning")]
        from_end: bool,
        /// With the oldest message that is stored; this is what happens when nothing is said
        #[arg(long)]
        from_beginning: bool,
    },
    /// Have it read a range once more, beside what it does anyway
    Rerun {
        /// The flow
        name: String,
        /// The first sequence
        #[arg(long, value_name = "A", value_parser = clap::value_parser!(u64).range(1..))]
        from_seq: Option<u64>,
        /// The last sequence; the newest message when left out
        #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..))]
        to_seq: Option<u64>,
        /// Another station for what keeps its subject
        #[arg(long, value_name = "STATION")]
        to: Option<String>,
    },
    /// Give up the changed query that is built in the background; what runs goes on
    Cancel {
        /// The flow
        name: String,
    },
}
