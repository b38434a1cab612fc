//! The command that shows what the lines of a kernel's PTX do.

use super::{refuses, succeeds};

/// What a row of a summary says.
fn fact<'a>(text: &'a str, label: &str) -> &'a str {
    let row = text.lines().find_map(|line| line.trim().strip_prefix(label));
    row.unwrap_or_else(|| panic!("no {label} in {text}")).trim()
}

#[test]
fn a_listing_counts_every_line() {
    let place = tempfile::tempdir().expect("a folder");
    let (text, said) = succeeds(place.path(), "simulate gate --shape rows=64,c=32");
    assert!(text.starts_with("gate: rows=64, channels=32\n") && said.is_empty(), "{text}{said}");
    // 64 x 64 numbers are read and 64 x 32 written, each once.
    assert_eq!(fact(&text, "global memory"), "16.4 kB read, 8.19 kB written, 1.00x of the 24.6 kB stated");
    assert!(fact(&text, "GTX 1050").starts_with("at least 219 ns, its memory roof"), "{text}");
    assert!(fact(&text, "H200").starts_with("at least 5.72 ns, its memory roof"), "{text}");
    assert!(fact(&text, "launch").starts_with("2 blocks of 256 threads"), "{text}");
    let row = |line: &str| -> Vec<String> {
        let row = text.lines().find(|row| row.ends_with(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
        row.trim_end_matches(line).split_whitespace().map(str::to_owned).collect()
    };
    // 16 warps read four numbers a thread: 512 bytes, 16 sectors a warp.
    let load = row("ld.global.v4.f32 {g0, g1, g2, g3}, [from_g];");
    assert_eq!([&load[1], &load[2], &load[4], &load[5]], ["16", "512", "256", "256"], "{load:?}");
    assert_eq!(row("NEXT:").len(), 1);
}

#[test]
fn several_entry_points_are_listed_one_after_the_other() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), "simulate sum_squares --shape len=5000").0;
    let entries = text.lines().filter(|line| line.contains("(kernels/ptx/sum_squares.ptx)")).count();
    assert!(entries >= 2 && fact(&text, "thread-instructions").ends_with(&format!("{entries} launches")), "{text}");
}

#[test]
fn a_page_needs_nothing_else() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), "simulate gemm --shape m=70,n=40,k=30 --html gemm.html").0;
    assert!(text.ends_with("wrote gemm.html\n"), "{text}");
    let page = std::fs::read_to_string(place.path().join("gemm.html")).expect("a page");
    for part in
        ["<title>Kernel gemm</title>", "m=70, n=40, k=30", "Roofs of the H200", "class=\"dot\"", "class=\"heat\""]
    {
        assert!(page.contains(part), "no {part} in the page");
    }
    for outside in ["{{", "http://", "https://", "src=", "@import"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused_at_once() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    refuses(folder, "simulate layer_nrom", &["kernel layer_nrom not found", "layer_norm"]);
    refuses(folder, "simulate spmm --shape rows=3", &["--shape rows=3", "no axis rows", "nodes or n (1024)"]);
    refuses(folder, "simulate spmm --shape n=0", &["--shape n=0", "at least 1"]);
    refuses(folder, "simulate group_norm --shape c=10,g=3", &["c = 10", "groups = 3"]);
    refuses(folder, "simulate gemm --shape m=9000,n=9000,k=9000", &["1.46 T flops", "minutes", "--patient"]);
    refuses(folder, "simulate gate --shape rows=4000000000,c=4000000000", &["4000000000", "at most"]);
    refuses(folder, "simulate gate --html gate.txt", &["gate.txt", "expected the name of an HTML page"]);
}
