//! The life of a pod in a model: what happens to its containers and to its readiness, and what of that is an incident to a flight
//! recorder that was shown some of the pod's statuses.

use packet_capture::core::recorder::{ContainerEnd, ContainerState, ContainerStatus, PodStatus, Readiness};

use crate::server::Random;

/// The container, an init container and a sidecar.
const NAMES: [&str; 3] = ["app", "init", "side"];

/// Something that happens to a pod. What cannot happen in its state changes nothing.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// A container starts, for the first time or again.
    Starts(&'static str),
    /// A container ends with this exit code.
    Ends(&'static str, i32),
    /// A container, dead or alive, is removed, and one that runs takes its place and says that it was started again this often.
    Replaced(&'static str, u32),
    /// The pod becomes Ready, or unready.
    Ready(bool),
    /// The pod is asked to end.
    Deleting,
}

/// One run of a container. A status is named by its number in the pod's life.
#[derive(Clone, Copy)]
struct Past {
    /// The first status that shows it.
    start: usize,
    /// The first status that shows its end, and the exit code.
    end: Option<(usize, i32)>,
    /// Its start was counted as a restart, or was the first.
    is_counted: bool,
}

pub struct Life {
    /// What the pod's status said after each change: no two are alike.
    statuses: Vec<PodStatus>,
    /// What happened, and the number of the first status that shows it.
    log: Vec<(usize, Happening)>,
    /// The status that comes next.
    next: PodStatus,
    is_deleting: bool,
    /// No two things happen in one second.
    clock_s: u64,
}

impl Life {
    /// Of a pod that runs and is Ready, and of each fourth one that has not started.
    pub fn new(number: usize) -> Self {
        let runs = !number.is_multiple_of(4);
        let run = || if runs { ContainerState::Running { started_s: Some(1) } } else { ContainerState::Waiting };
        let container = |name: &&str| ContainerStatus {
            name: (*name).into(),
            is_init: *name != NAMES[0],
            restarts: 0,
            state: run(),
            last_end: None,
        };
        let containers = NAMES[..=number % 3].iter().map(container).collect();
        let ready = runs.then_some(Readiness { is_ready: true, since_s: Some(1) });
        let next = PodStatus { containers, ready, is_ending: false };
        Self { statuses: vec![next.clone()], log: Vec::new(), next, is_deleting: false, clock_s: 1 }
    }

    pub fn status(&self) -> &PodStatus {
        self.statuses.last().unwrap()
    }

    pub fn status_at(&self, number: usize) -> &PodStatus {
        &self.statuses[number]
    }

    /// The number of a status that was shown.
    pub fn number_of(&self, status: &PodStatus) -> usize {
        self.statuses.iter().position(|known| known == status).expect("a status that the pod never had")
    }

    /// Lets things happen at once: one status shows them all.
    pub fn happen(&mut self, all: &[Happening]) {
        all.iter().for_each(|happening| self.take_in(*happening));
        self.show();
    }

    pub fn happen_any(&mut self, random: &mut Random) {
        for _ in 0..=random.below(3) {
            let happening = self.any(random);
            self.take_in(happening);
        }
        self.show();
    }

    fn any(&self, random: &mut Random) -> Happening {
        let number = usize::try_from(random.below(self.next.containers.len() as u64)).unwrap();
        let (name, container) = (NAMES[number], &self.next.containers[number]);
        match (random.below(16), &container.state) {
            (0, _) if random.one_in(3) => Happening::Deleting,
            (0..=4, _) => Happening::Ready(!self.next.ready.is_some_and(|ready| ready.is_ready)),
            (5..=7, ContainerState::Running { .. }) => Happening::Replaced(name, random.pick(&[0, container.restarts])),
            (_, ContainerState::Running { .. }) => Happening::Ends(name, random.pick(&[0, 0, 1, 137])),
            (5..=7, ContainerState::Terminated(_)) => Happening::Replaced(name, 0),
            (_, ContainerState::Waiting | ContainerState::Terminated(_)) => Happening::Starts(name),
        }
    }

    fn take_in(&mut self, happening: Happening) {
        self.clock_s += 1;
        let now_s = Some(self.clock_s);
        let mut running = ContainerState::Running { started_s: now_s };
        match happening {
            Happening::Starts(name) => {
                let ContainerStatus { restarts, state, last_end, .. } = self.container(name);
                if matches!(state, ContainerState::Running { .. }) {
                    return;
                }
                std::mem::swap(state, &mut running);
                if let ContainerState::Terminated(end) = running {
                    (*restarts, *last_end) = (*restarts + 1, Some(end));
                }
            }
            Happening::Ends(name, exit_code) => match &mut self.container(name).state {
                run @ ContainerState::Running { .. } => {
                    *run = ContainerState::Terminated(ContainerEnd { exit_code, reason: None, at_s: now_s })
                }
                ContainerState::Waiting | ContainerState::Terminated(_) => return,
            },
            Happening::Replaced(name, restarts) => {
                let container = self.container(name);
                if container.state == ContainerState::Waiting {
                    return;
                }
                (container.restarts, container.state, container.last_end) = (restarts, running, None);
            }
            Happening::Ready(is_ready) => {
                let before = self.next.ready.replace(Readiness { is_ready, since_s: now_s });
                // That a pod is not Ready at first is no change.
                let Some(before) = before else { return };
                assert_ne!(before.is_ready, is_ready, "it is so already");
            }
            Happening::Deleting => self.is_deleting = true,
        }
        self.log.push((self.statuses.len(), happening));
    }

    fn container(&mut self, name: &str) -> &mut ContainerStatus {
        self.next.containers.iter_mut().find(|container| container.name == name).unwrap()
    }

    fn show(&mut self) {
        self.next.is_ending = self.is_deleting;
        if self.next != *self.status() {
            self.statuses.push(self.next.clone());
        }
    }

    /// Whether what ends in a status was asked to end: the pod is being deleted, or the container that is neither an init container nor a sidecar
    /// has done its work.
    pub fn ends_as_asked(&self, number: usize) -> bool {
        let PodStatus { containers, is_ending, .. } = &self.statuses[number];
        *is_ending || matches!(&containers[0].state, ContainerState::Terminated(end) if end.exit_code == 0)
    }

    fn runs(&self, name: &str, now: usize) -> Vec<Past> {
        let begun = |start, is_counted| Past { start, end: None, is_counted };
        let is_running =
            |container: &ContainerStatus| container.name == name && container.state != ContainerState::Waiting;
        let first = self.statuses[0].containers.iter().any(is_running).then_some(begun(0, true));
        let mut runs: Vec<Past> = first.into_iter().collect();
        for (number, happening) in self.log.iter().filter(|(number, _)| *number <= now) {
            match happening {
                Happening::Starts(of) if *of == name => runs.push(begun(*number, true)),
                Happening::Ends(of, exit_code) if *of == name => {
                    runs.last_mut().unwrap().end = Some((*number, *exit_code))
                }
                Happening::Replaced(of, _) if *of == name => {
                    runs.last_mut().unwrap().end.get_or_insert((*number, 137));
                    runs.push(begun(*number, false));
                }
                _ => (),
            }
        }
        runs
    }

    /// Whether a container restarted or failed after the status `since`, and the status `now` says so.
    fn has_restarted(&self, name: &str, since: usize, now: usize) -> bool {
        let runs = self.runs(name, now);
        let was_started_again = runs.windows(2).any(|two| two[0].end.is_some_and(|(end, _)| end > since));
        let failed = runs.last().and_then(|run| run.end).is_some_and(|(end, exit_code)| end > since && exit_code != 0);
        was_started_again || (failed && !self.ends_as_asked(now))
    }

    /// The containers that restarted or failed after the first of these statuses, as the last one says.
    pub fn restarted(&self, shown: &[usize]) -> Vec<&'static str> {
        let (since, now) = (shown[0], *shown.last().unwrap());
        self.names().filter(|name| self.has_restarted(name, since, now)).collect()
    }

    /// Those of them of which whoever was shown these statuses must know it.
    pub fn surely_restarted(&self, shown: &[usize]) -> Vec<&'static str> {
        let now = *shown.last().unwrap();
        self.names().filter(|name| self.has_restarted(name, self.known_since(name, shown), now)).collect()
    }

    /// Since when whoever was shown these statuses knows all of a container: it may have been replaced unseen before, its count with it.
    fn known_since(&self, name: &str, shown: &[usize]) -> usize {
        let is_shown = |run: &Past| {
            let end = run.end.map_or(usize::MAX, |(end, _)| end);
            shown.iter().any(|number| (run.start..end).contains(number))
        };
        let runs = self.runs(name, *shown.last().unwrap());
        let replaced = runs.windows(2).filter(|two| !two[1].is_counted && two[1].start > shown[0]);
        let unseen = replaced.filter(|two| !two.iter().all(is_shown)).map(|two| two[1].start).max();
        *shown.iter().find(|number| unseen.is_none_or(|unseen| **number >= unseen)).unwrap()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().take(self.next.containers.len())
    }

    /// Whether the pod became unready after the status `since`, and the status `now` may say so.
    fn has_become_unready(&self, since: usize, now: usize) -> bool {
        let became_unready = |(number, happening): &(usize, Happening)| {
            matches!(happening, Happening::Ready(false)) && (since + 1..=now).contains(number)
        };
        !self.ends_as_asked(now) && self.log.iter().any(became_unready)
    }

    pub fn became_unready(&self, shown: &[usize]) -> bool {
        self.has_become_unready(shown[0], *shown.last().unwrap())
    }

    /// The same, as far as who was shown these statuses can know it: not of a pod that was Ready and unready before it was seen Ready.
    pub fn surely_became_unready(&self, shown: &[usize]) -> bool {
        let ready = |number: usize| self.statuses[number].ready.map(|ready| ready.is_ready);
        let (mut since, mut before) = (shown[0], ready(shown[0]));
        for number in shown[1..].iter().filter(|number| !self.ends_as_asked(**number)) {
            let now = ready(*number);
            if before.is_none() || (before, now) == (Some(false), Some(true)) {
                since = *number;
            }
            before = now;
        }
        self.has_become_unready(since, *shown.last().unwrap())
    }
}
