//! Files and runs that are added up, and limits of memory.

use super::*;

#[test]
fn sums_beyond_64_bits_are_an_error() {
    let (_folder, path) = saved(b"");
    write(&path, &plain(&[("a", 1 << 63, 0), ("b", 1, 1)]));
    let open = || RunReader::open(&path).unwrap();
    let overflows = |sum: Merged| matches!(summed(sum), Err(Error::CountOverflow));
    assert!(overflows(merge(vec![open(), open()], &[1, 1]).unwrap()));
    assert!(overflows(merge(vec![open()], &[2]).unwrap()));
    assert!(summed(merge(vec![open()], &[1]).unwrap()).is_ok());
    for weights in [&[][..], &[0], &[1, 1]] {
        let error = merge(vec![open()], weights).unwrap_err();
        assert!(matches!(error, Error::Weights { .. }), "{error}");
    }
}

#[test]
fn other_patterns_and_special_tokens_are_refused_by_name() {
    let folder = tempdir().unwrap();
    let file = |name: &str, header: &RunHeader| {
        let path = folder.path().join(name);
        let writer = RunWriter::create(&path, header).unwrap();
        writer.finish(0, 0).unwrap();
        path
    };
    let gpt2 = file("gpt2.pcnt", &header());
    let pattern = Pattern::named("cl100k").unwrap();
    let cl100k = file(
        "cl100k.pcnt",
        &RunHeader {
            pattern,
            ..header()
        },
    );
    let special_tokens = vec!["<s>".to_owned()];
    let special = file(
        "special.pcnt",
        &RunHeader {
            special_tokens,
            ..header()
        },
    );
    let message = |other: &PathBuf| {
        let readers = [&gpt2, other].map(|path| RunReader::open(path).unwrap());
        let direct = merge(readers.into(), &[1, 1]).unwrap_err().to_string();
        let paths = [gpt2.clone(), other.clone()];
        let mut go_on = |_| ControlFlow::Continue(());
        let loaded = load(&paths, &[1, 1], &header(), &gpt2, &mut go_on).unwrap_err();
        assert_eq!(direct, loaded.to_string());
        direct
    };
    let patterns = message(&cl100k);
    for part in [
        "gpt2.pcnt",
        "cl100k.pcnt",
        "different pattern: cl100k, and gpt2",
    ] {
        assert!(patterns.contains(part), "{patterns}");
    }
    let tokens = message(&special);
    assert!(
        tokens.contains(r#"special tokens: "<s>", and "<|endoftext|>""#),
        "{tokens}"
    );
    // Another spelling of the same pattern splits alike.
    let respelled = header().pattern.regexes()[0].replace(r"\p{L}", r"[\p{L}]");
    let pattern = Pattern::regex(respelled);
    assert_eq!(pattern.name(), Some("gpt2"));
    let alike = file(
        "alike.pcnt",
        &RunHeader {
            pattern,
            ..header()
        },
    );
    let readers = [&gpt2, &alike].map(|path| RunReader::open(path).unwrap());
    merge(readers.into(), &[1, 1]).unwrap();
}

#[test]
fn loading_is_counting_all_texts_in_order() {
    let folder = tempdir().unwrap();
    let mut expected = WordCounts::new();
    let mut paths = Vec::new();
    for number in 0..150_u64 {
        let mut words = Plain::new();
        for place in 0..5 {
            let word = format!("{}", (number * 7 + 4 - place) % 31);
            words.insert(word.clone().into(), (place + 1, place));
            expected
                .add(word.as_bytes(), (place + 1) * (number + 1))
                .unwrap();
        }
        let path = folder.path().join(format!("{number}.pcnt"));
        write(&path, &words);
        paths.push(path);
    }
    let weights: Vec<u64> = (1..=150).collect();
    let mut told = Vec::new();
    let mut hear = |bytes| {
        told.push(bytes);
        ControlFlow::Continue(())
    };
    let loaded = load(&paths, &weights, &header(), Path::new("x"), &mut hear).unwrap();
    assert!(loaded.iter_first_seen().eq(expected.iter_first_seen()));
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    assert_eq!(told.last(), Some(&paths.iter().map(size).sum()));
    let mut stop = |_| ControlFlow::Break(());
    let stopped = load(&paths, &weights, &header(), Path::new("x"), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn a_spill_of_any_number_of_runs_is_one_count() {
    for runs in [0, 1, 2, 62, 63, 64, 65, 1000, 2500] {
        let folder = tempdir().unwrap();
        let mut spill = Spill::new(folder.path(), header());
        let mut going = || ControlFlow::Continue(());
        let mut expected = Plain::new();
        for number in 0..runs {
            let mut run = Plain::new();
            for place in 3 * number..3 * number + 3 {
                let word = format!("{}", place * 7919 % 97).into_bytes();
                run.insert(word.clone(), (place + 1, place));
                expected.entry(word).or_insert((0, place)).0 += place + 1;
            }
            let run = run
                .iter()
                .map(|(word, &(count, place))| (&**word, count, place));
            spill.push(run, &mut going).unwrap();
            assert!(spill.len() < MOST_OPEN);
        }
        assert_eq!(spill.is_empty(), runs == 0);
        if cfg!(unix) {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        assert_eq!(
            summed(spill.into_merged().unwrap()).unwrap(),
            expected,
            "{runs}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

proptest! {
    #[test]
    fn a_limit_of_memory_changes_nothing(
        batches in prop::collection::vec((prop::collection::vec((0_u32..9000, 1_u64..9), 0..900), 1_u64..4), 0..12),
        limit in 0_usize..1 << 17,
    ) {
        let folder = tempdir().unwrap();
        let long = "x".repeat(40);
        let mut bounded = BoundedCounts::new(header(), counter(), Some((limit, folder.path())));
        let mut free = BoundedCounts::new(header(), counter(), None);
        let mut go_on = || ControlFlow::Continue(());
        for (words, weight) in &batches {
            for (word, count) in words {
                let long = if word % 5 == 0 { &*long } else { "" };
                let word = format!("{word}{long}");
                bounded.add_word(word.as_bytes(), count * weight, &mut go_on).unwrap();
                free.add_word(word.as_bytes(), count * weight, &mut go_on).unwrap();
            }
        }
        let expected: Vec<_> = free.words(&mut go_on).unwrap().iter_first_seen().collect();
        let found: Vec<_> = bounded.words(&mut go_on).unwrap().iter_first_seen().collect();
        prop_assert_eq!(found, expected);
    }
}

fn counter() -> Counter {
    Counter::new(&Pretokenizer::new(&header().pattern).unwrap(), 1)
}

/// Text that is counted on threads, with batches of other weights between.
#[test]
fn a_limit_changes_nothing_for_text() {
    let words = (0..60_000_u32).map(|number| format!(" {}", number.wrapping_mul(7919) % 40_000));
    let text = words.collect::<Vec<_>>().concat();
    let folder = tempdir().unwrap();
    let count = |limit, threads| {
        let mut corpus = Corpus::new(&CorpusOptions {
            header: header(),
            separator: None,
            threads,
            limit,
            kernel: Kernel::best(),
        })
        .unwrap();
        let mut go_on = || ControlFlow::Continue(());
        for (weight, part) in (1..).zip(text.as_bytes().chunks(text.len() / 3 + 1)) {
            corpus.weigh(weight, &mut go_on).unwrap();
            for document in part.chunks(5000) {
                corpus.push_document(document, &mut go_on).unwrap();
            }
        }
        assert_eq!(corpus.runs() > 0, limit.is_some());
        corpus.words(&mut go_on).unwrap().clone()
    };
    let free = count(None, 1);
    for threads in [1, 2, 3] {
        let bounded = count(Some((1 << 18, folder.path())), threads);
        assert!(
            bounded.iter_first_seen().eq(free.iter_first_seen()),
            "{threads}"
        );
        let threaded = count(None, threads);
        assert!(
            threaded.iter_first_seen().eq(free.iter_first_seen()),
            "{threads}"
        );
    }
}

#[test]
fn a_file_written_within_a_limit_is_the_same_but_for_places() {
    let folder = tempdir().unwrap();
    let write = |limit, name: &str| {
        let mut counts = BoundedCounts::new(header(), counter(), limit);
        let mut going = || ControlFlow::Continue(());
        for number in 0..5000_u32 {
            let word = (number * 7919 % 1999).to_string();
            counts.add_word(word.as_bytes(), 1, &mut going).unwrap();
        }
        assert_eq!(counts.runs() > 0, limit.is_some());
        let path = folder.path().join(name);
        let mut go_on = || ControlFlow::Continue(());
        counts.write_file(&path, 5, 1, &mut go_on).unwrap();
        let words = read(&path).unwrap();
        let mut by_place: Vec<_> = words.iter().map(|(w, &(c, p))| (p, w.clone(), c)).collect();
        by_place.sort_unstable();
        by_place
            .into_iter()
            .map(|(_, word, count)| (word, count))
            .collect::<Vec<_>>()
    };
    let free = write(None, "free");
    assert_eq!(free.len(), 1999);
    assert_eq!(write(Some((1 << 15, folder.path())), "bounded"), free);
}

#[test]
fn writing_can_be_stopped_and_leaves_nothing() {
    for limit in [None, Some(1 << 15)] {
        let folder = tempdir().unwrap();
        let limit = limit.map(|bytes| (bytes, folder.path()));
        let mut counts = BoundedCounts::new(header(), counter(), limit);
        let mut going = || ControlFlow::Continue(());
        for number in 0..5000_u32 {
            counts
                .add_word(number.to_string().as_bytes(), 1, &mut going)
                .unwrap();
        }
        let path = folder.path().join("x.pcnt");
        let stopped = counts.write_file(&path, 0, 0, &mut || ControlFlow::Break(()));
        assert!(matches!(stopped, Err(Error::Cancelled)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_is_not_there_is_said_to_be_the_matter() {
    let folder = tempdir().unwrap();
    let mut spill = Spill::new(&folder.path().join("missing"), header());
    let mut go_on = || ControlFlow::Continue(());
    let error = spill.push([(&b"a"[..], 1, 0)], &mut go_on).unwrap_err();
    assert!(matches!(error, Error::Spill { .. }), "{error}");
    assert!(error.to_string().contains("missing"));
    let error = spill
        .push([(&b"b"[..], 1, 0), (&b"a"[..], 1, 0)], &mut go_on)
        .unwrap_err();
    assert!(matches!(error, Error::Spill { .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let device = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(device) = device else { return };
    let begun = RunWriter::temporary(device, Path::new("/dev"), &header());
    let error = begun.unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
}

#[test]
fn a_pipe_or_a_folder_is_no_file_of_counts() {
    let folder = tempdir().unwrap();
    assert!(matches!(
        RunReader::open(folder.path()),
        Err(Error::Io { .. })
    ));
    if cfg!(unix) {
        let error = RunReader::open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("not from pipes"), "{error}");
    }
}

#[test]
fn writing_and_summing_runs_can_be_stopped() {
    let folder = tempdir().unwrap();
    let words = |from: u64, count: u64| {
        let words = (from..from + count).map(|number| (number.to_be_bytes(), number));
        words.collect::<Vec<_>>()
    };
    let mut go_on = || ControlFlow::Continue(());
    let mut stop = || ControlFlow::Break(());
    let mut spill = Spill::new(folder.path(), header());
    let mut push = |words: &[([u8; 8], u64)], asked: &mut dyn FnMut() -> ControlFlow<()>| {
        let words = words.iter().map(|(word, place)| (&word[..], 1, *place));
        spill.push(words, asked)
    };
    let stopped = push(&words(0, 5000), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    for run in 0..MOST_OPEN as u64 - 1 {
        push(&words(300 * run, 300), &mut go_on).unwrap();
    }
    let stopped = push(&words(0, 1), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
