//! Options and configuration files that are refused before anything is written.

use super::{refuses, workplace};

#[test]
fn wrong_settings_name_their_file_line_and_field() {
    let place = workplace();
    let folder = place.path();
    let train = |rest: &str| format!("train stddm -o run --data sst.nc --var surface_temperature {rest}");
    for (content, words) in [
        ("[train]\nepoch = 2\n", &["line 2", "unknown field `epoch`", "`epochs`"][..]),
        ("[training]\nepochs = 2\n", &["line 1", "unknown field `training`", "`train`"]),
        ("[train]\nlr = 0.1\nepochs = \"two\"\n", &["line 3", "epochs = \"two\"", "invalid type"]),
        ("[train]\nepochs = -2\n", &["line 2", "epochs = -2"]),
        ("[train]\nschedule = \"linear\"\n", &["line 2", "`linear`", "`cosine`"]),
        ("[train\n", &["line 1"]),
        ("[model]\nheads = 3\n", &["heads = 3"]),
        ("[train]\nlr = 0\n", &["train.lr", "above 0", "found 0"]),
        ("[train]\nlr = nan\n", &["train.lr", "above 0", "NaN"]),
        ("[train]\nbatch = 0\n", &["train.batch", "at least 1", "found 0"]),
        ("[impute]\nstride = 99\n", &["impute.stride", "found 99"]),
    ] {
        std::fs::write(folder.join("wrong.toml"), content).expect("a file");
        refuses(folder, &train("--config wrong.toml"), words);
    }
    refuses(folder, &train("--config none.toml"), &["none.toml", "no such file"]);
    std::fs::write(folder.join("bytes.toml"), [0xff, 0xfe]).expect("a file");
    refuses(folder, &train("--config bytes.toml"), &["bytes.toml", "expected a TOML file"]);
}

#[test]
fn wrong_options_name_what_they_should_be() {
    let place = workplace();
    let folder = place.path();
    let train = |rest: &str| format!("train stddm -o run --data sst.nc --var surface_temperature {rest}");
    refuses(folder, "train stddm -o run --data sst.nc", &["--var"]);
    refuses(folder, &train("--window 55"), &["sst.nc", "window = 55", "54", "--window"]);
    refuses(folder, &train("--train-frames 40 --window 46"), &["sst.nc", "window = 46", "40"]);
    refuses(folder, &train("--train-frames 99"), &["sst.nc", "54", "99"]);
    refuses(folder, &train("--missing-rate 1.5"), &["train.missing_rate", "between 0 and 1", "1.5"]);
    refuses(folder, &train("--heldout none.npz"), &["none.npz", "no such file"]);
    refuses(folder, &train("--heldout sst.nc"), &["sst.nc", "expected an .npz archive"]);
    refuses(folder, &train("--resume"), &["stddm.safetensors", "no such file"]);
    refuses(folder, &train("--memory-limit 1kB"), &["out of memory", "1000 bytes"]);
    let to = |out: &str| format!("train stddm -o {out} --data sst.nc --config small.toml");
    refuses(folder, &to("sst.nc"), &["sst.nc", "expected a folder, found a file"]);
    refuses(folder, &to("sst.nc/run"), &["sst.nc/run", "expected a folder, found a file"]);
}

#[test]
fn a_gpu_that_is_not_there_is_refused_with_those_that_are() {
    let place = workplace();
    let impute = |rest: &str| format!("impute --data sst.nc --weights run -o imputed.nc {rest}");
    let folder = place.path();
    let words = ["no adapter `none`; found", "--adapter", "--device cpu"];
    refuses(folder, &impute("--device wgpu --adapter none"), &words);
    refuses(folder, &impute("--device wgpu --adapter 4321"), &["no adapter `4321`; found"]);
    refuses(folder, &impute("--adapter 0"), &["--adapter: expected --device wgpu beside it"]);
}
