//! What is not read, and the sentence that says why.

use super::*;

#[test]
fn each_wrong_variable_is_refused_in_one_sentence() {
    let mut sample = Sample::new();
    sample.variable("chl", "time lat lon", &counting());
    sample.variable("sea", "lat lon", &[1i8; 12]);
    sample.variable("section", "time depth lat", &[0.0f32; 6]);
    sample.variable("empty", "time lat lon", &[f32::NAN; 24]);
    sample.coordinate("level", "m", &[0.0, 10.0]);
    sample.variable("profile", "time level lat lon", &[0.0f32; 48]);
    assert_eq!(
        refusal(sample.read("chlor")),
        "variable `chlor` not found; the file has: chl, sea, section, empty, profile"
    );
    assert_eq!(
        refusal(sample.read("sea")),
        "variable `sea`: expected the dimensions (time, latitude, longitude), found (lat = 3, \
         lon = 4) with no one-dimensional time coordinate"
    );
    assert!(refusal(sample.read("section")).contains("no one-dimensional longitude"));
    assert!(refusal(sample.read("profile")).contains("others of size 1, found (time = 2, level = 2"));
    assert!(refusal(sample.read("empty")).contains("found only missing values"));
}

#[test]
fn each_wrong_file_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.nc");
    assert!(refusal(read(&path, "chl")).contains("no such file"));
    assert!(refusal(read(folder.path(), "chl")).contains("found a folder"));
    for content in ["", "CDF", "time,chl\n1,2\n"] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(refusal(read(&path, "chl")), "expected a NetCDF file, found another format");
    }
}

#[test]
fn no_truncated_file_is_accepted_and_no_damage_panics() {
    let mut sample = Sample::new();
    sample.variable("chl", "time lat lon", &counting());
    sample.variable("later", "time lat lon", &counting());
    for format in [NcWriteFormat::Offset64, NcWriteFormat::Nc4] {
        let (_folder, path) = sample.write(format);
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            refusal(read(&path, "chl"));
        }
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            std::fs::write(&path, damaged).unwrap();
            if let Err(error) = read(&path, "chl") {
                assert_eq!(error.exit_code(), 2, "byte {at}: {error}");
            }
        }
    }
}
