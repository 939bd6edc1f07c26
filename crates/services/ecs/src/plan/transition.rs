//! Task states: who ends each, and how far a report moves one.
//!
//! Each state has exactly one owner of its exits. A wish to stop is no state: it is `desired`, which services and users
//! set, and which the owner of the state then acts on. Callers: `reports`, `reconcile::placement`, `assign`.

use crate::records::TaskState::{self, *};
use neargate_link::Phase;

/// Who may end a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Chooses the node and takes and gives back the interface.
    Placement,
    /// Runs the containers; speaks through reports.
    Node,
    /// Registers and deregisters addresses with load balancers and service registries. A task that has none passes its
    /// states without stopping there.
    Targets,
}

/// The exits of one state.
#[derive(Clone, Copy, Debug)]
pub struct Exits {
    pub from: TaskState,
    pub owner: Owner,
    pub to: &'static [TaskState],
}

/// Every exit there is. STOPPED has none.
pub const EXITS: &[Exits] = &[
    Exits {
        from: Provisioning,
        owner: Owner::Placement,
        to: &[Pending, Stopped],
    },
    Exits {
        from: Pending,
        owner: Owner::Node,
        to: &[Activating, Running, Stopping, Deprovisioning],
    },
    Exits {
        from: Activating,
        owner: Owner::Targets,
        to: &[Running, Deactivating],
    },
    Exits {
        from: Running,
        owner: Owner::Node,
        to: &[Deactivating, Stopping, Deprovisioning],
    },
    Exits {
        from: Deactivating,
        owner: Owner::Targets,
        to: &[Stopping],
    },
    Exits {
        from: Stopping,
        owner: Owner::Node,
        to: &[Deprovisioning],
    },
    Exits {
        from: Deprovisioning,
        owner: Owner::Placement,
        to: &[Stopped],
    },
];

/// Who ends `state`; none for STOPPED.
pub fn owner(state: TaskState) -> Option<Owner> {
    EXITS.iter().find(|e| e.from == state).map(|e| e.owner)
}

/// The state after its node reported `phase`: never an earlier one. A task without processes gives its interface back
/// in the same commit, so `Stopped` passes DEPROVISIONING.
pub fn advance(state: TaskState, phase: Phase) -> TaskState {
    if state == Provisioning {
        // No node has it: a report can only be about something else.
        return state;
    }
    let reported = match phase {
        Phase::Pending => Pending,
        Phase::Running => Running,
        Phase::Stopping => Stopping,
        Phase::Stopped => Stopped,
    };
    state.max(reported)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [TaskState; 8] = [
        Provisioning,
        Pending,
        Activating,
        Running,
        Deactivating,
        Stopping,
        Deprovisioning,
        Stopped,
    ];

    #[test]
    fn every_state_but_stopped_has_exactly_one_owner_and_only_later_exits() {
        for state in ALL {
            let rows: Vec<_> = EXITS.iter().filter(|e| e.from == state).collect();
            assert_eq!(rows.len(), usize::from(state != Stopped), "{state:?}");
            for row in rows {
                assert!(row.to.iter().all(|to| *to > state), "{state:?} goes back");
                assert!(!row.to.is_empty());
            }
        }
        assert_eq!(owner(Stopped), None);
    }

    #[test]
    fn reports_move_only_forward_and_along_the_table() {
        fn reaches(from: TaskState, to: TaskState) -> bool {
            from == to
                || EXITS
                    .iter()
                    .filter(|e| e.from == from)
                    .any(|e| e.to.iter().any(|next| reaches(*next, to)))
        }
        for state in ALL {
            for phase in [Phase::Pending, Phase::Running, Phase::Stopping, Phase::Stopped] {
                let next = advance(state, phase);
                assert!(next >= state, "{state:?} went back to {next:?}");
                assert!(reaches(state, next), "no way from {state:?} to {next:?}");
                assert_eq!(advance(next, phase), next, "a report twice moves twice");
            }
        }
        assert_eq!(advance(Provisioning, Phase::Running), Provisioning);
    }
}
