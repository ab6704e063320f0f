//! `cargo compare`: ours against its peers, judged by the bars. `cargo compare io` for the groups that read files.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use unwedge_benches::apart;
use unwedge_benches::device::describe;
use unwedge_benches::groups::io::scene::Scene;
use unwedge_benches::groups::{Contest, Group, all};
use unwedge_benches::machine::Watch;
use unwedge_benches::measure::{Effort, compare};
use unwedge_benches::output::{Row, json, markdown};

/// Above this part of the CPU time taken by others a warning is due.
const BUSY: f64 = 0.05;

/// Measures unwedge against its peers in interleaved pairs of runs and prints medians with 95 % intervals.
///
/// A ratio is ours over the peer's wall time for one operation: below 1 we are faster. "must be" and "met" judge us against the best
/// peer of a group, or against the peer that the bar names; "likely" and "unlikely" mean that the interval lies across the bar.
#[derive(Parser)]
#[command(name = "cargo compare", after_help = groups_help())]
struct Arguments {
    /// Only these groups, or all that begin so; all but those of files if none is named
    #[arg(value_name = "GROUP", value_parser = beginning)]
    groups: Vec<String>,
    /// Only against peers whose name has this in it; then these alone are judged
    #[arg(long, value_name = "TEXT")]
    against: Option<String>,
    /// Only those of ours whose name has this in it
    #[arg(long, value_name = "TEXT")]
    ours: Option<String>,
    /// One JSON object a line instead of the table
    #[arg(long)]
    json: bool,
    /// Pairs of runs for each peer; at least 11
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u32).range(11..=1001))]
    pairs: u32,
    /// How long one run lasts
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    slice: u64,
}

fn groups_help() -> String {
    let mut text = String::from("Groups, and what one operation is:\n");
    for group in all() {
        text += &format!("  {:<26} {}\n", group.name, group.operation);
    }
    text += "\nThe groups io_.. read files: in the directory UNWEDGE_BENCH_PATH, or else in that of the build.\n";
    text
}

fn beginning(name: &str) -> Result<String, String> {
    let known = all().any(|group| group.name.starts_with(name));
    known.then(|| name.to_owned()).ok_or_else(|| {
        let names: Vec<_> = all().map(|group| group.name).collect();
        format!("no group begins so; there are {}", names.join(", "))
    })
}

/// Whether a name means a group: by whole words (`io_direct_d1` is no `io_direct_d128`) where any group has them, else by its beginning.
fn is_meant(name: &str, group: &str) -> bool {
    let has_words = |group: &str| group.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    if all().any(|group| has_words(group.name)) { has_words(group) } else { group.starts_with(name) }
}

fn main() -> ExitCode {
    apart::serve();
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let effort = Effort { pairs: arguments.pairs as usize, slice: Duration::from_millis(arguments.slice) };
    let chosen = |group: &&Group| match arguments.groups.as_slice() {
        [] => !group.files,
        names => names.iter().any(|name| is_meant(name, group.name)),
    };
    let groups: Vec<&Group> = all().filter(chosen).collect();
    let contests = contests(arguments, &groups)?;
    let scene = groups.iter().any(|group| group.files).then(Scene::make).transpose()?;
    let watch = Watch::start();
    let mut rows = Vec::new();
    for (group, contest) in &contests {
        let measured = hold(group, contest, effort)?;
        if arguments.json {
            for row in &measured {
                writeln!(io::stdout(), "{}", json(row)?)?;
            }
        }
        rows.extend(measured);
    }
    progress("")?;
    let others = watch.and_then(|watch| watch.others());
    if !arguments.json {
        write!(io::stdout(), "{}", markdown(&rows))?;
        if let Some(scene) = &scene {
            writeln!(io::stdout(), "\n{}.", describe(scene.dir()))?;
        }
        writeln!(io::stdout(), "\n{} pairs of runs for each peer, {} ms a run.", effort.pairs, arguments.slice)?;
        if let Some(part) = others {
            writeln!(io::stdout(), "Other processes took {:.1} % of the machine's CPU time meanwhile.", part * 100.0)?;
        }
    }
    if let Some(part) = others.filter(|part| *part > BUSY) {
        let percent = part * 100.0;
        writeln!(
            io::stderr(),
            "cargo compare: other processes took {percent:.0} % of the CPU time: do not trust what threads took"
        )?;
    }
    Ok(())
}

/// What was asked for of the groups. An error that says what there is, if there is nothing of it.
fn contests<'a>(arguments: &Arguments, groups: &[&'a Group]) -> io::Result<Vec<(&'a Group, Contest)>> {
    let all: Vec<(&Group, Contest)> =
        groups.iter().flat_map(|group| (group.contests)().into_iter().map(|contest| (*group, contest))).collect();
    let mut ours: Vec<_> = all.iter().map(|(_, contest)| contest.ours.name).collect();
    let mut peers: Vec<_> =
        all.iter().flat_map(|(_, contest)| contest.peers.iter().map(|(peer, _)| peer.name)).collect();
    let asked: Vec<_> =
        all.into_iter().filter_map(|(group, contest)| Some((group, only(arguments, contest)?))).collect();
    if !asked.is_empty() {
        return Ok(asked);
    }
    let mut wrong = Vec::new();
    for (option, text, names) in [("--ours", &arguments.ours, &mut ours), ("--against", &arguments.against, &mut peers)]
    {
        names.sort_unstable();
        names.dedup();
        match text {
            Some(text) if !names.iter().any(|name| name.contains(text)) => {
                wrong.push(format!("{option} {text:?} is in the name of none of them: {}", names.join(", ")));
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        wrong.push("no group has both --ours and --against".to_owned());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong.join("; ")))
}

/// What of a contest was asked for, if anything was.
fn only(arguments: &Arguments, mut contest: Contest) -> Option<Contest> {
    let is_asked = |text: &Option<String>, name: &str| text.as_ref().is_none_or(|text| name.contains(text));
    contest.peers.retain(|(peer, _)| is_asked(&arguments.against, peer.name));
    (is_asked(&arguments.ours, contest.ours.name) && !contest.peers.is_empty()).then_some(contest)
}

/// Measures ours against each peer of the contest.
fn hold(group: &Group, contest: &Contest, effort: Effort) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (peer, bar) in &contest.peers {
        progress(&format!("{}: {}", group.name, peer.name))?;
        let measured = compare(&contest.ours, peer, effort);
        rows.push(Row {
            group: group.name,
            ours: contest.ours.name,
            peer: peer.name,
            best: false,
            bar: *bar,
            measured,
        });
    }
    // The best peer is the one against which we look worst. The pairs say that; the peers' own times were taken seconds apart.
    if let Some(best) = rows.iter_mut().max_by(|a, b| a.measured.ratio.value.total_cmp(&b.measured.ratio.value)) {
        best.best = true;
    }
    Ok(rows)
}

/// Shows on a terminal what is being measured; an empty text clears the line.
fn progress(text: &str) -> io::Result<()> {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        write!(terminal, "\r\x1b[K{text}")?;
        terminal.flush()?;
    }
    Ok(())
}
