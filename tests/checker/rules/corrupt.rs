//! Ways to corrupt a correct run, each with the kinds of violation that must be found.
//!
//! Each returns `None` if the run offers nothing to corrupt in this way. Otherwise the result is certainly wrong.

use super::generate::Truth;
use super::toy::{State, Toy, ToyRun, entry_in};
use testkit::checker::Breach;
use testkit::checker::history::{Death, Entry, Outcome, Read, Shown, Status, Tick, Verdict, Vouching, Write};
use testkit::random::Random;

type Corrupt = fn(&Truth, &mut Random) -> Option<ToyRun>;

pub const ALL: &[(&str, Corrupt, &[Breach])] = &[
    ("drop an acknowledged entry", drop_entry, &[Breach::AcknowledgedMissing]),
    ("refuse an acknowledged entry", refuse_acknowledged, &[Breach::AcknowledgedNotApplied]),
    ("swap two entries", swap, &[Breach::OrderReversed]),
    ("execute a token twice", duplicate, &[Breach::Twice]),
    ("an entry of no client", stranger, &[Breach::NobodyAsked]),
    ("effect of a refused write", refused_effect, &[Breach::RefusedHasEffect]),
    ("an entry left open", left_open, &[Breach::NotSettled]),
    ("a status left pending", left_pending, &[Breach::WrongStatus]),
    ("abandon an acknowledged entry", abandon, &[Breach::AcknowledgedAbandoned]),
    ("show an older content", stale, &[Breach::StaleRead, Breach::DeletedReturns]),
    ("show an older content that lacks nothing deleted", plainly_stale, &[Breach::StaleRead]),
    ("show what is yet to come", ahead, &[Breach::ReadAhead]),
    ("show a record that never was", invented, &[Breach::NeverThere]),
    ("show a deleted record", resurrected, &[Breach::DeletedReturns]),
    ("show a deleted collection", undead, &[Breach::DeletedReturns]),
    ("an instance with another value", instance_value, &[Breach::InstanceDiffers]),
    ("an instance without a collection", instance_lacks, &[Breach::InstanceLacks]),
    ("an instance with a collection too many", instance_more, &[Breach::InstanceHasMore]),
    ("an instance with a deleted collection", instance_undead, &[Breach::DeletedReturns]),
    ("an instance with a deleted record", instance_resurrected, &[Breach::DeletedReturns]),
    ("a write of which two servers die", deaths_of_two, &[Breach::TooManyDeaths]),
    ("a journal out of order", disordered, &[Breach::Malformed]),
];

fn write_of<'a>(run: &'a ToyRun, entry: &Entry<Toy>) -> Option<&'a Write> {
    run.writes.iter().find(|write| write.token == entry.token)
}

fn is_acknowledged(run: &ToyRun, entry: &Entry<Toy>) -> bool {
    write_of(run, entry).is_some_and(|write| write.outcome == Outcome::Acknowledged)
}

/// Returns the position of a random entry of this kind.
fn place(truth: &Truth, random: &mut Random, fits: impl Fn(&Entry<Toy>) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..truth.run.journal.len()).filter(|at| fits(&truth.run.journal[*at])).collect();
    (!places.is_empty()).then(|| *random.pick(&places))
}

fn acknowledged(truth: &Truth, random: &mut Random) -> Option<usize> {
    place(truth, random, |entry| is_acknowledged(&truth.run, entry))
}

fn drop_entry(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    run.journal.remove(acknowledged(truth, random)?);
    Some(run)
}

fn refuse_acknowledged(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    // Void would be allowed if its collection is dropped after it.
    run.journal[acknowledged(truth, random)?].verdict = Verdict::Rejected;
    Some(run)
}

fn swap(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let first = acknowledged(truth, random)?;
    let told = write_of(&run, &run.journal[first])?.ended;
    let second = place(truth, random, |entry| write_of(&run, entry).is_some_and(|write| write.invoked > told))?;
    let (a, b) = (run.journal[first].seq, run.journal[second].seq);
    run.journal.swap(first, second);
    (run.journal[first].seq, run.journal[second].seq) = (a, b);
    Some(run)
}

fn duplicate(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let mut again = run.journal[place(truth, random, |entry| entry.verdict == Verdict::Applied)?].clone();
    again.seq = run.journal.last()?.seq + 1;
    run.journal.push(again);
    Some(run)
}

fn stranger(truth: &Truth, _: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    entry_in(&mut run, "lane 0", "nobody", Verdict::Rejected, Status::Done, Toy::RemoveOdd);
    Some(run)
}

fn refused_effect(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let refused: Vec<_> = run.writes.iter().filter(|write| matches!(write.outcome, Outcome::Refused(_))).collect();
    let token = (!refused.is_empty()).then(|| random.pick(&refused).token.clone())?;
    let verdict = *random.pick(&[Verdict::Applied, Verdict::Open]);
    match run.journal.iter_mut().find(|entry| entry.token == token) {
        Some(entry) => entry.verdict = verdict,
        None => entry_in(&mut run, "lane 0", &token, verdict, Status::Done, Toy::Put("a", 7)),
    }
    Some(run)
}

fn left_open(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let entry = &mut run.journal[place(truth, random, |_| true)?];
    (entry.verdict, entry.status) = (Verdict::Open, *random.pick(&[Status::Pending, Status::Done]));
    Some(run)
}

fn left_pending(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    run.journal[place(truth, random, |_| true)?].status = Status::Pending;
    Some(run)
}

fn abandon(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    run.journal[acknowledged(truth, random)?].status = Status::Abandoned;
    Some(run)
}

fn with_read(truth: &Truth, lane: &str, invoked: Tick, ended: Tick, shown: Shown<State>) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    run.reads.push(Read { lane: lane.to_owned(), invoked, ended, shown });
    Some(run)
}

/// Returns whether any prefix of the journal from `seq` on produces this content of the lane.
fn comes_after(truth: &Truth, lane: &str, seq: u64, shown: &Shown<State>) -> bool {
    let last = truth.run.journal.last().map_or(0, |last| last.seq);
    (seq..=last).any(|seq| truth.through(lane, seq) == *shown)
}

/// Returns a random acknowledged write of records: the content before it, its position and its end.
fn before_it(truth: &Truth, random: &mut Random) -> Option<(String, Shown<State>, u64, Tick)> {
    let fits = |entry: &Entry<Toy>| is_acknowledged(&truth.run, entry) && entry.lane.starts_with("lane");
    let entry = &truth.run.journal[place(truth, random, fits)?];
    let before = truth.through(&entry.lane, entry.seq - 1);
    Some((entry.lane.clone(), before, entry.seq, write_of(&truth.run, entry)?.ended))
}

fn stale(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let (lane, before, seq, told) = before_it(truth, random)?;
    if comes_after(truth, &lane, seq, &before) {
        return None;
    }
    with_read(truth, &lane, told + 1, told + 1 + random.below(100), before)
}

fn plainly_stale(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let (lane, before, seq, told) = before_it(truth, random)?;
    let Shown::Content(old) = &before else { return None };
    let last = truth.run.journal.last()?.seq;
    let has_all = |seq| match truth.through(&lane, seq) {
        Shown::Content(new) => old.keys().all(|name| new.contains_key(name)),
        Shown::Count(_) | Shown::Nothing => false,
    };
    if comes_after(truth, &lane, seq, &before) || !(seq..=last).all(has_all) {
        return None;
    }
    with_read(truth, &lane, told + 1, told + 1, before)
}

fn ahead(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let fits = |entry: &Entry<Toy>| entry.verdict == Verdict::Applied && matches!(entry.write, Toy::Put(..));
    let entry = &truth.run.journal[place(truth, random, fits)?];
    let moment = write_of(&truth.run, entry)?.invoked - 1;
    let shown = truth.through(&entry.lane, entry.seq);
    // Contents that existed before do not count as ahead.
    if (0..entry.seq).any(|seq| truth.through(&entry.lane, seq) == shown) || shown == Shown::Nothing {
        return None;
    }
    // If shown records were deleted, the violation has another name.
    let Shown::Content(state) = &shown else { return None };
    let Shown::Content(then) = truth.at(&entry.lane, moment) else { return None };
    let deleted = state.keys().any(|name| !then.contains_key(name));
    if deleted { None } else { with_read(truth, &entry.lane, moment, moment, shown) }
}

fn invented(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let moment = random.below(truth.last_tick());
    let lane = format!("lane {}", random.below(4));
    let Shown::Content(mut state) = truth.at(&lane, moment) else { return None };
    state.insert("invented", 1);
    with_read(truth, &lane, moment, moment + random.below(20), Shown::Content(state))
}

/// Returns a record that an acknowledged write removed and that never came back, and the content after everything.
fn deleted_record(truth: &Truth, random: &mut Random) -> Option<(String, Shown<State>)> {
    let fits = |entry: &Entry<Toy>| is_acknowledged(&truth.run, entry) && matches!(entry.write, Toy::Remove(_));
    let entry = &truth.run.journal[place(truth, random, fits)?];
    let Toy::Remove(name) = entry.write else { return None };
    let Shown::Content(before) = truth.through(&entry.lane, entry.seq - 1) else { return None };
    let Shown::Content(mut after) = truth.at(&entry.lane, truth.last_tick()) else { return None };
    let value = *before.get(name)?;
    let last = truth.run.journal.last()?.seq;
    let has_it = |seq| matches!(truth.through(&entry.lane, seq), Shown::Content(state) if state.contains_key(name));
    if (entry.seq..=last).any(has_it) {
        return None;
    }
    after.insert(name, value);
    Some((entry.lane.clone(), Shown::Content(after)))
}

fn resurrected(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let (lane, shown) = deleted_record(truth, random)?;
    with_read(truth, &lane, truth.last_tick() + 1, truth.last_tick() + 2, shown)
}

fn deleted_lane(truth: &Truth, random: &mut Random) -> Option<(String, Shown<State>, Tick)> {
    let fits = |entry: &Entry<Toy>| is_acknowledged(&truth.run, entry) && matches!(entry.write, Toy::Drop(_));
    let entry = &truth.run.journal[place(truth, random, fits)?];
    let Toy::Drop(lane) = &entry.write else { return None };
    Some((lane.clone(), truth.through(lane, entry.seq - 1), write_of(&truth.run, entry)?.ended))
}

fn undead(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let (lane, shown, told) = deleted_lane(truth, random)?;
    with_read(truth, &lane, told + 1, told + random.below(100) + 1, shown)
}

fn instance_value(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let mut values: Vec<&mut u64> = run.instances[1].1.values_mut().flat_map(|state| state.values_mut()).collect();
    let chosen = random.below(values.len().max(1) as u64) as usize;
    **values.get_mut(chosen)? += 1;
    Some(run)
}

fn instance_lacks(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let lanes: Vec<String> = run.instances[0].1.keys().cloned().collect();
    (!lanes.is_empty()).then(|| run.instances[0].1.remove(random.pick(&lanes)))?;
    Some(run)
}

fn instance_more(truth: &Truth, _: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    run.instances[0].1.insert("unheard of".to_owned(), State::new());
    Some(run)
}

fn instance_undead(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let (lane, Shown::Content(state), _) = deleted_lane(truth, random)? else { return None };
    run.instances[0].1.insert(lane, state);
    Some(run)
}

fn instance_resurrected(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let (lane, Shown::Content(state)) = deleted_record(truth, random)? else { return None };
    run.instances[1].1.insert(lane, state);
    Some(run)
}

fn deaths_of_two(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let token = random.pick(&run.writes).token.clone();
    let death =
        |instance: &str| Death { token: token.clone(), instance: instance.to_owned(), vouching: Vouching::Unvouched };
    run.deaths = ["one", "two"].map(death).to_vec();
    Some(run)
}

fn disordered(truth: &Truth, random: &mut Random) -> Option<ToyRun> {
    let mut run = truth.run.clone();
    let at = random.below(run.journal.len() as u64 - 1) as usize;
    run.journal.swap(at, at + 1);
    Some(run)
}
