//! Weights that do not fit, are damaged or no weights at all.

use std::path::Path;

use isobath_engine::Device;
use isobath_train::trained::Trained;
use netcdf_writer::NcWriteFormat;

use super::data_files::{wave, write};
use super::{refuses, succeeds, workplace};

const WEIGHTS: &str = "run/stddm.safetensors";

/// A workplace with weights of one epoch on a small grid, `chl.nc`.
fn trained() -> tempfile::TempDir {
    let place = workplace();
    write(&place.path().join("chl.nc"), NcWriteFormat::Classic, &[("chl", "time lat lon", &wave)]);
    succeeds(place.path(), "train stddm -o run --config small.toml --data chl.nc --var chl --epochs 1");
    place
}

/// Puts other weights into `other.safetensors`, where the text `from` is replaced by `to`, of the same length.
fn altered(folder: &Path, from: &str, to: &str) {
    let mut bytes = std::fs::read(folder.join(WEIGHTS)).expect("weights");
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("in the header");
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    std::fs::write(folder.join("other.safetensors"), bytes).expect("a file");
}

#[test]
fn weights_of_something_else_are_refused_with_both() {
    let place = trained();
    let folder = place.path();
    let other = |from: &str, to: &str, words: &[&str]| {
        altered(folder, from, to);
        let words = [&["other.safetensors"], words].concat();
        refuses(folder, "impute --data chl.nc --weights other.safetensors -o out.nc", &words);
    };
    other(r#"channels\":4"#, r#"channels\":8"#, &["parameter", "expected [", "found ["]);
    other(r#""version":"1""#, r#""version":"2""#, &["version 2 is newer than 1"]);
    other("isobath-checkpoint", "isobath-somethings", &["expected format isobath-checkpoint", "isobath-somethings"]);
    other(r#""model":"stddm""#, r#""model":"stdpm""#, &["expected weights of `isobath train stddm`", "stdpm"]);
    other(r#"prototypes\":2"#, r#"prototypos\":2"#, &["metadata entry config", "prototypos"]);
    other("param/", "paran/", &["paran/"]);
    let words = ["sst.nc", "trained on a grid of 3 x 4 (latitude 10.000 to 12.000", "the file has a grid of 18 x 100"];
    refuses(folder, "impute --data sst.nc --var surface_temperature --weights run -o out.nc", &words);
    let words = ["cells.npz", "trained on 12 sea pixels of 3 x 4", "3 of 2 x 2"];
    write_heldout(&folder.join("cells.npz"));
    refuses(folder, "evaluate --data chl.nc --weights run --heldout cells.npz", &words);
    let resume = "train stddm -o run --resume --config small.toml --epochs 2";
    refuses(folder, &format!("{resume} --data sst.nc --var chl"), &["`chl` not found"]);
    refuses(folder, &format!("{resume} --data sst.nc"), &[WEIGHTS, "variable = \"chl\"", "surface_temperature"]);
    refuses(folder, &format!("{resume} --data chl.nc --var chl --batch 3"), &[WEIGHTS, "batch = 4", "batch = 3"]);
    write(&folder.join("moved.nc"), NcWriteFormat::Classic, &[("chl", "time lat lon", &|cell| wave(cell + 1))]);
    refuses(folder, &format!("{resume} --data moved.nc --var chl"), &[WEIGHTS, "other data", "moved.nc"]);
}

/// An evaluation on another grid, 2 x 2.
fn write_heldout(path: &Path) {
    use npyz::WriterBuilder;
    fn add<T: npyz::AutoSerialize + Copy>(
        to: &mut npyz::npz::NpzWriter<std::io::BufWriter<std::fs::File>>,
        name: &str,
        shape: &[u64],
        values: &[T],
    ) {
        let builder = to.array(name, Default::default()).expect("an array");
        let mut array = builder.default_dtype().shape(shape).begin_nd().expect("a shape");
        array.extend(values.iter().copied()).expect("values");
        array.finish().expect("an array");
    }
    let mut archive = npyz::npz::NpzWriter::create(path).expect("an archive");
    add(&mut archive, "sea", &[2, 2], &[true, false, true, true]);
    add(&mut archive, "starts", &[1], &[0i64]);
    add(&mut archive, "hidden_0.5_0", &[1, 3], &[true, false, false]);
}

#[test]
fn damaged_weights_are_refused_by_every_command() {
    let place = trained();
    let folder = place.path();
    let whole = std::fs::read(folder.join(WEIGHTS)).expect("weights");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let mut flipped = whole.clone();
    flipped[(header + whole.len()) / 2] ^= 4;
    let mut texts: Vec<(&[u8], &str)> = vec![
        (b"nothing of the kind", "no whole safetensors file"),
        (b"", "no whole safetensors file"),
        (&flipped, "the arrays are damaged"),
    ];
    let n = whole.len();
    texts.extend([7, 100, header, n / 2, n - 1].map(|length| (&whole[..length], "no whole safetensors file")));
    for (content, words) in texts {
        std::fs::write(folder.join("bad.safetensors"), content).expect("a file");
        let words = ["bad.safetensors", words];
        refuses(folder, "impute --data chl.nc --weights bad.safetensors -o out.nc", &words);
        refuses(folder, "verify bad.safetensors --model stddm", &words[..1]);
        std::fs::create_dir_all(folder.join("again")).expect("a folder");
        std::fs::write(folder.join("again/stddm.safetensors"), content).expect("a file");
        let resume = "train stddm -o again --resume --config small.toml --data chl.nc --var chl";
        refuses(folder, resume, &["again/stddm.safetensors", words[1]]);
    }
    refuses(folder, "impute --data chl.nc --weights none -o out.nc", &["none", "no such file"]);
    std::fs::create_dir(folder.join("empty")).expect("a folder");
    refuses(folder, "impute --data chl.nc --weights empty -o out.nc", &["empty/stddm.safetensors", "no such file"]);
    #[cfg(unix)]
    refuses(
        folder,
        "impute --data chl.nc --weights /dev/null -o out.nc",
        &["/dev/null", "expected a safetensors file"],
    );
}

#[test]
fn no_damage_of_the_header_is_a_fault_of_ours() {
    let place = trained();
    let path = place.path().join("bad.safetensors");
    let whole = std::fs::read(place.path().join(WEIGHTS)).expect("weights");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let (device, mut refused) = (Device::cpu(), 0);
    for i in 0..600 {
        let mut bytes = whole.clone();
        bytes[i * header / 600] ^= 1 << (i % 7);
        std::fs::write(&path, bytes).expect("a file");
        // A digit for another digit cannot be told; anything else is refused.
        if let Err(error) = Trained::load(&path, &device) {
            assert_eq!(error.exit_code(), 2, "byte {}: {error}", i * header / 600);
            assert!(error.to_string().contains("bad.safetensors"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 300, "{refused}");
}
