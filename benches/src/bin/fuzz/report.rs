//! What is said about a difference: enough to repeat it.

use std::fmt::Write as _;

use gptbpe_core::Kernel;

/// A difference, as text for a person.
pub(crate) type Report = String;

/// A text as bytes that can be pasted into a `b"…"` literal.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let characters = bytes
        .iter()
        .flat_map(|&byte| std::ascii::escape_default(byte));
    let characters: String = characters.map(char::from).collect();
    format!("b\"{characters}\"")
}

/// The pieces that end at `ends`, escaped.
pub(crate) fn pieces(text: &[u8], ends: &[usize]) -> String {
    let mut line = String::new();
    let mut start = 0;
    for &end in ends {
        let piece = text.get(start..end).unwrap_or(b"<beyond the text>");
        // Writing to a `String` cannot fail.
        let _ = write!(line, "{} ", escaped(piece));
        start = end;
    }
    line
}

/// The name of a kernel, or of the scanner for one piece at a time.
pub(crate) fn kernel_name(kernel: Option<Kernel>) -> &'static str {
    kernel.map_or("scalar", Kernel::name)
}

/// Takes bytes out of `text` as long as `differs` says yes: half of it, then less and less. Then, where
/// the place in a block matters, puts `a` instead of what does not.
pub(crate) fn shrunk(text: &[u8], mut differs: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut text = text.to_vec();
    let mut length = text.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at + length <= text.len() {
            let mut shorter = text.clone();
            shorter.drain(at..at + length);
            if differs(&shorter) {
                text = shorter;
            } else {
                at += 1.max(length / 2);
            }
        }
        length /= 2;
    }
    for length in [16, 4, 3, 2, 1] {
        for at in 0..(text.len() + 1).saturating_sub(length) {
            let mut plainer = text.clone();
            plainer[at..at + length].fill(b'a');
            if plainer != text && differs(&plainer) {
                text = plainer;
            }
        }
    }
    text
}

/// What `work` returns, or the message of its panic.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panic: {}", message.unwrap_or("without a message"))
    })
}
