//! A text that can be read in whole registers up to its end.

/// How far a window may reach beyond the end of the text.
const REACH: usize = 128;

/// Valid UTF-8 with a padded copy of its end.
///
/// A scanner reads 64 or 128 bytes at a time, also where the text has fewer
/// left. There it reads a copy with zeros behind it, so that no other loop has to ask.
#[derive(Debug)]
pub(crate) struct Text<'t> {
    bytes: &'t [u8],
    /// The last [`REACH`] bytes, or as many as there are, and zeros.
    end: [u8; 2 * REACH + REACH / 2],
    end_start: usize,
}

impl<'t> Text<'t> {
    pub(crate) fn new(bytes: &'t [u8]) -> Self {
        let end_start = bytes.len().saturating_sub(REACH);
        let mut end = [0; 2 * REACH + REACH / 2];
        end[..bytes.len() - end_start].copy_from_slice(&bytes[end_start..]);
        Self {
            bytes,
            end,
            end_start,
        }
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'t [u8] {
        self.bytes
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The `N` bytes from `at`, which is at most a block behind the end; zeros
    /// stand behind the text.
    #[inline(always)]
    pub(crate) fn window<const N: usize>(&self, at: usize) -> &[u8; N] {
        const { assert!(N <= REACH) };
        match self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(window) => window,
            None => self.padded(at),
        }
    }

    #[cold]
    #[inline(never)]
    fn padded<const N: usize>(&self, at: usize) -> &[u8; N] {
        let window = self.end[at - self.end_start..].first_chunk();
        window.expect("windows begin at most a block behind the end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_the_text_and_zeros() {
        for length in [0, 1, 63, 64, 65, 127, 128, 129, 300] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8 | 1).collect();
            let text = Text::new(&bytes);
            for at in 0..=length + 64 {
                let mut expected: Vec<u8> = bytes.iter().copied().skip(at).take(128).collect();
                expected.resize(128, 0);
                assert_eq!(text.window::<128>(at).as_slice(), expected);
                assert_eq!(text.window::<64>(at).as_slice(), &expected[..64]);
            }
        }
    }
}
