//! One file per operation: `admit` decides on a snapshot, one commit makes it so, the reply says it back.

