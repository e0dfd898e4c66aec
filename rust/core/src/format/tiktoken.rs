//! `.tiktoken`: a token in base64, a space, its rank; a line each.
//!
//! The rank is the id. The file has neither pattern nor special tokens: the
//! caller gives them. Reading turns ranks into merges (see [`crate::vocab`]);
//! writing checks that doing so would give this vocabulary back, since not every
//! list of merges is a list of ranks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{broken, byte_level, excerpt, of_file};
use crate::error::{FormatProblem, Inexpressible};
use crate::pattern::Pattern;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer};

const FORMAT: &str = ".tiktoken";

/// Reads rank lines; blank lines are passed over.
pub fn read(
    bytes: &[u8],
    origin: &str,
    pattern: Pattern,
    special: &[(String, u32)],
) -> Result<Tokenizer> {
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if !line.trim_ascii().is_empty() {
            let entry = parse(line)
                .map_err(|problem| broken(FORMAT, origin, format!("line {number}"), problem))?;
            entries.push(entry);
        }
    }
    let ranks = entries.iter().map(|(id, token)| (*id, token.as_slice()));
    Tokenizer::from_ranks(ranks, pattern, special).map_err(of_file(origin))
}

/// Writes rank lines in the order of the ranks.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let vocab = byte_level(tokenizer, FORMAT)?;
    let refuse = |problem| Error::NotExpressible {
        format: FORMAT,
        problem,
    };
    let read_again = Vocab::from_ranks(vocab.iter())?;
    if read_again.merges() != vocab.merges() {
        return Err(refuse(Inexpressible::MergeOrder));
    }
    if !vocab.whole_first() && vocab.whole_first_matters() {
        return Err(refuse(Inexpressible::WouldBeLookedUp));
    }
    let mut lines = Vec::new();
    for (id, bytes) in vocab.iter() {
        lines.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        lines.extend_from_slice(format!(" {id}\n").as_bytes());
    }
    Ok(lines)
}

fn parse(line: &[u8]) -> Result<(u32, Vec<u8>), FormatProblem> {
    let line = line.trim_ascii();
    let found = || excerpt(&String::from_utf8_lossy(line));
    let space = line
        .iter()
        .position(|&byte| byte == b' ' || byte == b'\t')
        .ok_or_else(|| FormatProblem::NoRankLine { found: found() })?;
    let (token, rank) = (&line[..space], line[space..].trim_ascii());
    let token = STANDARD
        .decode(token)
        .map_err(|error| FormatProblem::NotBase64 {
            found: found(),
            reason: error.to_string(),
        })?;
    let rank = std::str::from_utf8(rank)
        .ok()
        .and_then(|rank| rank.parse().ok())
        .ok_or_else(|| FormatProblem::NoRank { found: found() })?;
    Ok((rank, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = b'a' as u32;

    fn bytes() -> String {
        let line = |byte: u8| format!("{} {byte}\n", STANDARD.encode([byte]));
        (0..=255).map(line).collect::<Vec<_>>().concat()
    }

    fn read_text(text: &str) -> Result<Tokenizer> {
        read(
            text.as_bytes(),
            "x.tiktoken",
            Pattern::default(),
            &[("<e>".into(), 999)],
        )
    }

    #[test]
    fn what_was_written_is_read() {
        let text = bytes() + "YWE= 256\nYWFhYQ== 257\n";
        let tokenizer = read_text(&text).unwrap();
        assert_eq!(tokenizer.merges().len(), 2);
        assert_eq!(tokenizer.vocab_size(), 1000);
        assert_eq!(write(&tokenizer).unwrap(), text.as_bytes());
        let windows = text.replace('\n', "\r\n\r\n");
        assert_eq!(
            read_text(&windows).unwrap().fingerprint(),
            tokenizer.fingerprint()
        );
    }

    #[test]
    fn errors_name_origin_and_line() {
        for (line, problem) in [
            (
                "YWE=",
                "expected a token in base64, a space and a rank, found \"YWE=\"",
            ),
            ("Y!E= 256", "expected a token in base64"),
            ("YWE= x", "expected a rank"),
            ("YWE= -1", "expected a rank"),
            ("YWE= 99999999999999", "expected a rank"),
            ("YWE= 256 7", "expected a rank"),
        ] {
            let error = read_text(&(bytes() + line)).unwrap_err().to_string();
            assert!(
                error.starts_with("x.tiktoken is not a valid .tiktoken file: line 257: "),
                "{error}"
            );
            assert!(error.contains(problem), "{error}");
        }
        for (lines, problem) in [
            ("YWE= 256\nYWE= 257", "tokens 256 and 257 are the same"),
            ("YWE= 255", "id 255 stands for two"),
            (" 256", "expected"),
            ("YWE= 99999999", "id 99999999 is too large"),
        ] {
            let error = read_text(&(bytes() + lines)).unwrap_err().to_string();
            assert!(
                error.starts_with("x.tiktoken") && error.contains(problem),
                "{error}"
            );
        }
        let error = read_text("").unwrap_err().to_string();
        assert!(
            error.contains("no token for the single byte 0x00"),
            "{error}"
        );
    }

    #[test]
    fn merges_that_are_not_ranks_are_refused() {
        let cases: [&[(u32, u32)]; 2] = [&[(A, A), (256, A), (A, A + 1)], &[(A, A), (A, 256)]];
        let written = cases.map(|merges| {
            let tokenizer = Tokenizer::from_merges(merges, Pattern::default(), &[]).unwrap();
            write(&tokenizer).map_err(|error| error.to_string())
        });
        assert!(written[0].is_ok());
        assert!(written[1].as_ref().unwrap_err().contains("do not follow"));
    }
}
