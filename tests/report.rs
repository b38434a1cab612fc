//! The page of a report in headless Chromium: what a reader does, and what the page then shows.
//!
//! Without Chromium every trial is listed as ignored, unless `ISOBATH_REQUIRE` lists `chromium`: then every trial fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isobath_models::baselines::Variability;
use isobath_train::data::nodes::{SeaMask, Statistics};
use isobath_train::data::time::TimeAxis;
use isobath_train::html::{Curve, Interval, Quantity, Report, View};
use isobath_train::picture::Colormap;
use isobath_train::record::{Place, Scaling};
use isobath_train::training::Step;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

type Outcome = Result<(), Failed>;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const LONGEST: Duration = Duration::from_secs(120);

const FRAMES: usize = 14;
const HEIGHT: usize = 6;
const WIDTH: usize = 9;
/// A pixel of the northern rows that no choice of the page's own picks: row from the north, column.
const CLICKED: (usize, usize) = (1, 6);
const LAND: (usize, usize) = (3, 4);

fn main() {
    let browser = browser();
    let required =
        std::env::var("ISOBATH_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == "chromium"));
    let absent = browser.is_none() && !required;
    let trial = |name: &str, check: fn(&Path) -> Outcome| {
        let browser = browser.clone();
        let run = move || check(&browser.ok_or_else(|| format!("expected one of {NAMES:?} on the PATH"))?);
        let trial = Trial::test(format!("chromium::{name}"), run).with_ignored_flag(absent);
        if absent { trial.with_kind("needs Chromium") } else { trial }
    };
    let trials = vec![
        trial("a_reader_moves_the_slider_and_clicks_a_pixel", |browser| reader(browser, true)),
        trial("rows_from_south_to_north_are_drawn_north_up_too", |browser| reader(browser, false)),
        trial("errors_of_the_page_are_seen", broken),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// The value of a pixel, counted from the north, in a frame.
fn truth(frame: usize, (row, column): (usize, usize)) -> f32 {
    0.1 * (1.0 + column as f32) * 1.5f32.powi(row as i32) * (1.0 + 0.1 * frame as f32)
}

fn hidden(frame: usize, (row, column): (usize, usize)) -> bool {
    (frame + row + column).is_multiple_of(3)
}

/// A page about concentrations on a small grid with one pixel of land, rows running either way.
fn page(southward: bool) -> Result<String, Failed> {
    let place_of = |row: usize, column| (if southward { row } else { HEIGHT - 1 - row }, column);
    let pixels = || (0..HEIGHT).flat_map(|row| (0..WIDTH).map(move |column| place_of(row, column)));
    let sea: Vec<bool> = pixels().map(|place| place != LAND).collect();
    let mut latitude: Vec<f64> = (0..HEIGHT).map(|row| 50.0 - 0.5 * row as f64).collect();
    if !southward {
        latitude.reverse();
    }
    let nodes = vec![0.0; HEIGHT * WIDTH - 1];
    let place = Place {
        latitude,
        longitude: (0..WIDTH).map(|column| -4.0 + 0.5 * column as f64).collect(),
        mask: SeaMask::new(sea, HEIGHT, WIDTH)?,
        scaling: Scaling { offset: 0.0, factor: 1.0 },
        statistics: Statistics {
            mean: nodes.clone(),
            std: nodes.clone(),
            variability: Variability::learn(&nodes, &vec![false; nodes.len()], &[0.0]),
            low: nodes.clone(),
            high: nodes,
        },
    };
    let days = (0..FRAMES).map(|frame| 8.0 * frame as f64).collect();
    let time = TimeAxis::decode(days, "days since 2020-01-01", "standard")?;
    let field = |of: &dyn Fn(usize, (usize, usize)) -> f32| -> Vec<f32> {
        (0..FRAMES).flat_map(|frame| pixels().map(move |place| (frame, place))).map(|(t, place)| of(t, place)).collect()
    };
    let observed = field(&|t, place| if hidden(t, place) { f32::NAN } else { truth(t, place) });
    let all = field(&truth);
    let (estimate, spread) = (field(&|t, place| 1.2 * truth(t, place)), field(&|t, place| 0.05 * truth(t, place)));
    let (low, high) = (field(&|t, place| 0.9 * truth(t, place)), field(&|t, place| 1.4 * truth(t, place)));
    let view = |name: &str| View {
        name: name.into(),
        time: &time,
        observed: &observed,
        truth: Some(&all),
        estimate_name: "imputed".into(),
        estimate: &estimate,
        spread: Some(&spread),
        deviation: Some(&spread),
        interval: Some(Interval { name: "90 %".into(), low: &low, high: &high }),
        forecast: Some(FRAMES - 2),
    };
    let quantity = Quantity {
        name: "chlorophyll-a".into(),
        units: "mg m⁻³".into(),
        logarithmic: true,
        colormap: Colormap::Viridis,
    };
    let curve = |name: &str, validated: bool| {
        let validation = |step: u64| (validated && step % 2 == 1).then_some(0.5);
        let step = |step| Step {
            step,
            epoch: step / 2,
            loss: 1.0,
            lr: 1e-3,
            gradient_norm: 1.0,
            validation: validation(step),
        };
        Curve { name: name.into(), steps: (0..8).map(step).collect() }
    };
    let report = Report {
        title: "Test".into(),
        lead: String::new(),
        quantity,
        place: &place,
        views: vec![view("first"), view("second")],
        highlights: Vec::new(),
        scores: Vec::new(),
        score_units: String::new(),
        lead_errors: Vec::new(),
        loss: vec![curve("imputer", false), curve("forecaster", true)],
        embedding: (0..2 * (HEIGHT * WIDTH - 1)).map(|i| i as f32).collect(),
        config: None,
        facts: Vec::new(),
    };
    Ok(report.page()?)
}

/// Put before everything of the page: keeps what goes wrong.
const WATCH: &str = "<script>
window.wrong = [];
addEventListener('error', (event) => wrong.push(String(event.message)));
addEventListener('unhandledrejection', (event) => wrong.push(String(event.reason)));
for (const level of ['error', 'warn']) console[level] = (...what) => wrong.push(what.join(' '));
</script>";

/// Put after everything of the page: a reader, who writes down what there is to see.
const READER: &str = "<script>
addEventListener('load', () => setTimeout(() => {
  const get = (id) => document.getElementById(id);
  const map = document.querySelector('[data-field=truth]');
  // Reading a copy back leaves the page's canvas, and the browser's advice on it, alone.
  const pixels = () => {
    const copy = Object.assign(document.createElement('canvas'), { width: COLUMNS, height: ROWS }).getContext('2d', { willReadFrequently: true });
    copy.drawImage(map.querySelector('canvas'), 0, 0);
    return [...copy.getImageData(0, 0, COLUMNS, ROWS).data];
  };
  const colour = (row, column) => pixels().slice(4 * (row * COLUMNS + column)).slice(0, 4);
  const state = () => ({
    date: get('date').textContent, where: get('where').textContent, readout: document.querySelector('.readout').textContent,
    spoken: get('said').textContent, line: document.querySelector('#series .line')?.getAttribute('d'),
    dots: document.querySelectorAll('#series .dot').length, circles: document.querySelectorAll('#series .circle').length,
    band: document.querySelectorAll('#series .band').length,
  });
  const click = (row, column) => {
    const box = map.getBoundingClientRect();
    const at = { bubbles: true, clientX: box.left + (column + 0.5) / COLUMNS * box.width, clientY: box.top + (row + 0.5) / ROWS * box.height };
    for (const kind of ['pointerdown', 'pointermove', 'pointerup', 'click']) map.dispatchEvent(new PointerEvent(kind, at));
  };
  const found = { start: state(), maps: document.querySelectorAll('.panels:not(.small) .map').length };
  const before = String(pixels());
  get('frame').value = 5;
  get('frame').dispatchEvent(new Event('input', { bubbles: true }));
  found.slid = state();
  found.pictureChanged = String(pixels()) !== before;
  found.colours = { north: colour(0, 0), south: colour(ROWS - 1, 0), land: colour(LAND_ROW, LAND_COLUMN) };
  click(LAND_ROW, LAND_COLUMN);
  found.land = state();
  click(CLICKED_ROW, CLICKED_COLUMN);
  found.clicked = state();
  map.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true, cancelable: true }));
  found.arrow = state();
  get('pixels').querySelector('button').click();
  found.pixel = state();
  get('next').click();
  get('next').click();
  found.next = state();
  get('table').open = true;
  get('frame').value = 99;
  get('frame').dispatchEvent(new Event('input', { bubbles: true }));
  found.last = state();
  get('view').value = '1';
  get('view').dispatchEvent(new Event('change', { bubbles: true }));
  setTimeout(() => {
    found.rows = document.querySelectorAll('#table tbody tr').length;
    found.unlabelled = [...document.querySelectorAll('canvas, button, input, select, svg[role=img]')].filter((part) =>
      !(part.getAttribute('aria-label') || part.textContent.trim() || part.closest('label'))).length;
    found.losses = [...document.querySelectorAll('#loss svg')].map((chart) => chart.querySelector('.validation').getAttribute('d').split('L').length);
    found.prototypes = document.querySelectorAll('#prototypes figure').length;
    found.wider = document.documentElement.scrollWidth > innerWidth;
    found.wrong = window.wrong;
    document.documentElement.dataset.found = encodeURIComponent(JSON.stringify(found));
  }, 200);
}, 200));
</script>";

/// What the reader found on the page, and what the browser said.
fn visit(browser: &Path, page: &str) -> Result<(Value, String), Failed> {
    let folder = tempfile::tempdir()?;
    let reader = [
        ("ROWS", HEIGHT),
        ("COLUMNS", WIDTH),
        ("LAND_ROW", LAND.0),
        ("LAND_COLUMN", LAND.1),
        ("CLICKED_ROW", CLICKED.0),
        ("CLICKED_COLUMN", CLICKED.1),
    ]
    .iter()
    .fold(READER.to_owned(), |text, (name, value)| text.replace(name, &value.to_string()));
    let page = page.replacen("<head>", &format!("<head>{WATCH}"), 1).replace("</body>", &format!("{reader}</body>"));
    let [file, dom, log] = ["page.html", "dom.html", "log.txt"].map(|name| folder.path().join(name));
    std::fs::write(&file, page)?;
    let mut child = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--window-size=1200,900", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&dom)?)
        .stderr(File::create(&log)?)
        .spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > LONGEST {
            child.kill()?;
            child.wait()?;
            return Err(format!("the browser was not done after {} s", LONGEST.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (dom, log) = (std::fs::read_to_string(&dom)?, String::from_utf8_lossy(&std::fs::read(&log)?).into_owned());
    let console: String = log.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    let found = dom.split_once("data-found=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (found, _) = found.ok_or_else(|| format!("the reader did not get to the end; the console: {console}"))?;
    Ok((serde_json::from_str(&decoded(found))?, console))
}

/// The inverse of `encodeURIComponent`.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.extend(u8::from_str_radix(code, 16));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn expect(what: &str, ok: bool, found: &Value) -> Outcome {
    if ok { Ok(()) } else { Err(format!("{what}: found {found:#}").into()) }
}

fn reader(browser: &Path, southward: bool) -> Outcome {
    let (found, console) = visit(browser, &page(southward)?)?;
    let text = |state: &str, key: &str| found[state][key].as_str().unwrap_or_default().to_owned();
    expect("seven maps, those of a forecast among them", found["maps"] == 7, &found["maps"])?;
    expect("a slider that sets the date", text("slid", "date") == "10 Feb 2020", &found["slid"])?;
    expect("other dates before", text("start", "date") != "10 Feb 2020", &found["start"])?;
    expect("another picture", found["pictureChanged"] == true, &found["pictureChanged"])?;
    let colours = &found["colours"];
    expect("land without a colour of the scale", colours["land"][3] == 0, colours)?;
    // Values rise to the south, and Viridis is the brighter the higher.
    let bright = |place: &str| (0..3).map(|i| colours[place][i].as_u64().unwrap_or(0)).sum::<u64>();
    expect("north up", bright("south") > bright("north"), colours)?;
    expect("land that cannot be chosen", found["land"]["where"] == found["start"]["where"], &found["land"])?;
    let clicked = &found["clicked"];
    expect("the clicked place", text("clicked", "where") == "49.50°N 1.00°W", clicked)?;
    expect("a new series", clicked["line"] != found["start"]["line"], clicked)?;
    let gaps = (0..FRAMES).filter(|t| hidden(*t, CLICKED)).count();
    expect("its observed points", clicked["dots"] == FRAMES - gaps, clicked)?;
    expect("its hidden truth", clicked["circles"] == gaps, clicked)?;
    expect("its interval", clicked["band"] == 1, clicked)?;
    assert!(hidden(5, CLICKED), "the clicked cell is one that was filled");
    let readout = text("clicked", "readout");
    for (what, factor) in [("Truth", 1.0), ("Imputed", 1.2)] {
        // Four digits, as the page writes them; 16 bits keep them.
        let value = format!("{what}{}", (f64::from(truth(5, CLICKED)) * factor * 1e4).round() / 1e4);
        expect(&value, readout.contains(&value), clicked)?;
    }
    expect("the same said aloud", text("clicked", "spoken").contains("49.50°N 1.00°W"), clicked)?;
    expect("the pixel south of it", text("arrow", "where") == "49.00°N 1.00°W", &found["arrow"])?;
    expect("another pixel", found["pixel"]["where"] != found["arrow"]["where"], &found["pixel"])?;
    expect("two frames on", text("next", "date") == "26 Feb 2020", &found["next"])?;
    expect("a forecast at the end", text("last", "date") == "14 Apr 2020 · forecast", &found["last"])?;
    expect("the values as a table", found["rows"] == FRAMES, &found["rows"])?;
    expect("both trainings, one with its four validations", found["losses"] == json!([1, 4]), &found["losses"])?;
    expect("both prototypes", found["prototypes"] == 2, &found["prototypes"])?;
    expect("names for all controls and pictures", found["unlabelled"] == 0, &found["unlabelled"])?;
    expect("a page no wider than the window", found["wider"] == false, &found["wider"])?;
    expect("no error", found["wrong"].as_array().is_some_and(Vec::is_empty), &found["wrong"])?;
    if console.is_empty() { Ok(()) } else { Err(format!("the console says {console}").into()) }
}

/// The check itself: a page with a fault does not pass.
fn broken(browser: &Path) -> Outcome {
    let page = page(true)?.replace("function drawLoss() {", "function drawLoss() { console.error('a fault');");
    let (found, _) = visit(browser, &page)?;
    expect("the fault", found["wrong"][0] == "a fault", &found["wrong"])
}
