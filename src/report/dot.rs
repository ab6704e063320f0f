//! The report as a graph for Graphviz: threads and tasks, locks, operations, and who waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::Report;
use super::explain::CauseKind;
use super::parts::{HeldBy, Outcome, OwedBy, Party, WaitReport, WaitsFor};
use super::text::{For, Seconds, TimeLeft};

/// The lines of a graph; each one once.
#[derive(Default)]
struct Graph {
    nodes: BTreeSet<String>,
    edges: BTreeSet<String>,
    /// What tells those of one name apart, in the order in which they came.
    named: BTreeMap<String, BTreeMap<(u64, u32), usize>>,
}

impl Graph {
    /// The id of a node by its name and what tells it from others of that name.
    fn id(&mut self, name: String, one: (u64, u32)) -> String {
        let known = self.named.entry(name.clone()).or_default();
        let next = known.len();
        let at = *known.entry(one).or_insert(next);
        if at == 0 { name } else { format!("{name} ({})", at + 1) }
    }

    fn node(&mut self, id: &str, label: impl Display, shape: &str, is_blamed: bool) {
        let color = if is_blamed { ", color=red, penwidth=2" } else { "" };
        self.nodes.insert(format!("  {} [label={}, shape={shape}{color}];", quoted(id), quoted(label)));
    }

    fn edge(&mut self, from: &str, to: &str, label: impl Display) {
        self.edges.insert(format!("  {} -> {} [label={}];", quoted(from), quoted(to), quoted(label)));
    }

    fn party(&mut self, party: &Party, blamed: &BTreeSet<u64>) -> String {
        let id = member_id(party.id);
        let ended = if party.has_ended { ", ended" } else { "" };
        self.node(&id, format!("{party}{ended}"), "ellipse", blamed.contains(&party.id));
        id
    }

    fn wait(&mut self, from: &str, wait: &WaitReport, blamed: &BTreeSet<u64>) {
        let place = wait.location.map(|at| format!("\n{}:{}", at.file(), at.line())).unwrap_or_default();
        let label = format!("{}{place}", Seconds(wait.age));
        match &wait.on {
            WaitsFor::Lock { name, held_by, .. } => {
                let id = self.id(format!("lock {name}"), (wait.slot, 0));
                self.node(&id, For(&wait.on), "box", false);
                self.edge(from, &id, label);
                if let HeldBy::Member(holder) = held_by {
                    let holder = self.party(holder, blamed);
                    self.edge(&id, &holder, "held by");
                }
            }
            WaitsFor::Completion { owed_by: OwedBy::Member(debtor), .. } => {
                let debtor = self.party(debtor, blamed);
                self.edge(from, &debtor, format!("{} {label}", For(&wait.on)));
            }
            WaitsFor::Completion { owed_by: OwedBy::Storage, .. } => {
                let id = For(&wait.on).to_string();
                self.node(&id, &id, "cylinder", false);
                self.edge(from, &id, label);
            }
            WaitsFor::Stop | WaitsFor::End { .. } => {
                let id = For(&wait.on).to_string();
                self.node(&id, &id, "plain", false);
                self.edge(from, &id, label);
            }
            _ => {
                let id = self.id(For(&wait.on).to_string(), (wait.slot, 0));
                self.node(&id, For(&wait.on), "plain", false);
                self.edge(from, &id, label);
            }
        }
    }
}

fn member_id(id: u64) -> String {
    format!("member {id}")
}

fn phase_name(name: &str) -> String {
    format!("phase {name}")
}

/// A string of Graphviz's language. A line's end in it stays one.
fn quoted(text: impl Display) -> String {
    format!("\"{}\"", text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl Report {
    /// The wait-for graph in Graphviz's language: `dot -Tsvg`. Who is to blame is red.
    ///
    /// ```
    /// use unwedge::{Completion, Plan, Stop};
    ///
    /// let stop = Stop::new("mds.a");
    /// let (_never, mut read) = Completion::<u8>::new("read", &stop);
    /// stop.spawn("replay", move || read.wait())?;
    /// while stop.report().members().iter().all(|member| member.waits.is_empty()) {
    ///     std::thread::yield_now();
    /// }
    /// let graph = stop.report().to_dot();
    /// assert!(graph.starts_with("digraph \"mds.a\" {") && graph.contains("-> \"read\""), "{graph}");
    /// # stop.shutdown(Plan::within(std::time::Duration::from_secs(10)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn to_dot(&self) -> String {
        let blamed: BTreeSet<u64> = self
            .causes
            .iter()
            .filter(|cause| cause.kind != CauseKind::Idle)
            .flat_map(|cause| match cause.kind {
                CauseKind::Deadlock => &cause.chain[..],
                _ => cause.chain.last().map_or(&[][..], std::slice::from_ref),
            })
            .map(|step| step.member.id)
            .collect();
        let mut graph = Graph::default();
        for (at, member) in self.members().iter().enumerate() {
            let party = Party {
                id: member.id,
                name: member.name.clone(),
                is_task: member.is_task,
                tid: member.tid,
                has_ended: false,
            };
            let id = graph.party(&party, &blamed);
            // Those that run phases come first.
            if let Some(step) = self.steps.get(at) {
                let phase = graph.id(phase_name(&step.phase), step.at);
                graph.edge(&phase, &id, "runs in");
            }
            for wait in &member.waits {
                graph.wait(&id, wait, &blamed);
            }
        }
        for operation in self.operations().iter().filter(|operation| operation.waiter.is_none()) {
            let id = format!("{operation}, nobody waits");
            graph.node(&id, &id, "cylinder", false);
        }
        for phase in self.phases.iter().filter(|phase| phase.outcome.is_current() || phase.outcome == Outcome::Left) {
            let left = match phase.outcome {
                Outcome::Left => "left".to_owned(),
                _ => TimeLeft(phase.left, phase.limit).to_string(),
            };
            let id = graph.id(phase_name(&phase.name), (phase.plan, phase.place));
            graph.node(&id, format!("phase {}\n{left}", phase.name), "folder", false);
        }
        for step in self.causes.iter().flat_map(|cause| &cause.chain) {
            let id = graph.party(&step.member, &blamed);
            if let Some(wait) = &step.wait {
                graph.wait(&id, wait, &blamed);
            }
        }
        let lines: Vec<String> = graph.nodes.into_iter().chain(graph.edges).collect();
        format!("digraph {} {{\n  rankdir=LR;\n{}\n}}\n", quoted(&self.domain), lines.join("\n"))
    }
}
