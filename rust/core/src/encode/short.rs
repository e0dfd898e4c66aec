//! Merging a short piece: scan for the best pair, merge it, ask about the two
//! new neighbours, again. Quadratic, but on the few symbols of a usual pre-token
//! that is a handful of compares in registers and on the stack, with no
//! bookkeeping; `long` takes over where that stops being true.

use crate::vocab::{MergeRules, NEVER};

/// The longest piece, in bytes, that is merged this way.
pub(super) const LONGEST: usize = 64;

/// Appends the tokens of a piece of at most [`LONGEST`] bytes.
pub(super) fn merge(rules: &MergeRules, piece: &[u8], out: &mut Vec<u32>) {
    let mut ids = [0u32; LONGEST];
    // priorities[i] belongs to the pair (ids[i], ids[i + 1]).
    let mut priorities = [NEVER; LONGEST];
    let mut length = piece.len();
    for (id, &byte) in ids.iter_mut().zip(piece) {
        *id = rules.byte_ids[byte as usize];
    }
    for at in 1..length {
        priorities[at - 1] = rules.pairs.priority(ids[at - 1], ids[at]);
    }
    while length > 1 {
        let (at, best) = lowest(&priorities[..length - 1]);
        if best == NEVER {
            break;
        }
        ids[at] = rules.made[best as usize];
        ids.copy_within(at + 2..length, at + 1);
        priorities.copy_within(at + 2..length, at + 1);
        length -= 1;
        priorities[length - 1] = NEVER;
        if at + 1 < length {
            priorities[at] = rules.pairs.priority(ids[at], ids[at + 1]);
        }
        if at > 0 {
            priorities[at - 1] = rules.pairs.priority(ids[at - 1], ids[at]);
        }
    }
    out.extend_from_slice(&ids[..length]);
}

/// Place and value of the lowest priority, the first of equals.
fn lowest(priorities: &[u32]) -> (usize, u32) {
    let mut best = (0, NEVER);
    for (at, &priority) in priorities.iter().enumerate() {
        if priority < best.1 {
            best = (at, priority);
        }
    }
    best
}
