//! The step from frame to frame: months, periods of a year or equal times, with frames that were left out put back in,
//! and the frames to come.

use super::netcdf::Field;
use super::time::{Date, TimeAxis};
use crate::{Error, Result};

/// Days of the periods of satellite composites that begin anew each 1 January, and how a record within one year is told
/// from one of equal steps.
const COMPOSITES: [i64; 3] = [5, 8, 16];

/// The step of a time axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Calendar months.
    Months(i64),
    /// Periods of so many days, counted from each 1 January; the last one of a year is shorter.
    Days(i64),
    /// Equal times in the units of the axis, and in days.
    Equal(f64, f64),
}

impl Step {
    /// Frames in a year, at least 1.
    pub fn frames_a_year(self) -> usize {
        let frames = match self {
            Step::Months(months) => 12 / months,
            Step::Days(days) => (365 + days - 1) / days,
            Step::Equal(_, days) => (365.25 / days).round() as i64,
        };
        frames.max(1) as usize
    }

    /// Number of the frame of this date and value, counted from anywhere; `None` off the step.
    fn number(self, date: &Date, value: f64, first: (&Date, f64)) -> Option<i64> {
        let whole = |count: i64, step: i64| (count % step == 0).then_some(count / step);
        match self {
            Step::Months(months) => whole(months_of(date) - months_of(first.0), months),
            Step::Days(days) => {
                let (day, offset) = (i64::from(date.day_of_year) - 1, (i64::from(first.0.day_of_year) - 1) % days);
                let in_year = whole(day - offset, days)?;
                Some(i64::from(date.year) * self.frames_a_year() as i64 + in_year)
            }
            Step::Equal(step, _) => {
                let number = (value - first.1) / step;
                ((number - number.round()).abs() < 0.02).then_some(number.round() as i64)
            }
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Months(1) => write!(f, "a month"),
            Step::Months(months) => write!(f, "{months} months"),
            Step::Days(days) => write!(f, "{days} days from each 1 January"),
            Step::Equal(_, days) if *days < 1.0 => write!(f, "{:.3} hours", 24.0 * days),
            Step::Equal(_, days) => write!(f, "{days:.3} days"),
        }
    }
}

fn months_of(date: &Date) -> i64 {
    i64::from(date.year) * 12 + i64::from(date.month) - 1
}

/// A time axis without left-out frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Rhythm {
    /// Every frame, also those that were left out.
    pub time: TimeAxis,
    /// From one frame to the next.
    pub step: Step,
    /// Where the frames of the original axis are, ascending.
    pub places: Vec<usize>,
}

impl Rhythm {
    /// Finds the step of an axis.
    ///
    /// # Errors
    /// What is irregular, as the end of a sentence that the caller begins with the file.
    pub fn of(time: &TimeAxis) -> std::result::Result<Self, String> {
        let n = time.values.len();
        if n < 2 {
            return Err(format!("time axis: expected at least 2 frames to know the step between them, found {n}"));
        }
        let found = steps(time).into_iter().find_map(|step| Some((step, numbers(time, step)?)));
        let (step, numbers) = found.ok_or_else(|| irregular(time))?;
        let places = numbers.iter().map(|number| (number - numbers[0]) as usize).collect();
        let end = (numbers[n - 1] - numbers[0]) as usize + 1;
        let mut rhythm = Rhythm { time: time.slice(0..1), step, places };
        let all = (0..n).map(|i| (rhythm.places[i], time.values[i], time.dates[i])).collect::<Vec<_>>();
        for (place, value, date) in all {
            rhythm.extend(place)?;
            if rhythm.time.values.len() == place {
                rhythm.time.values.push(value);
                rhythm.time.dates.push(date);
            }
        }
        debug_assert_eq!(rhythm.time.values.len(), end);
        Ok(rhythm)
    }

    /// The step and the frames that were left out, in a sentence for the user.
    pub fn describe(&self) -> String {
        let mut next = self.places.iter().peekable();
        let absent = |frame: &usize| next.next_if_eq(&frame).is_none();
        let left_out: Vec<usize> = (0..self.time.values.len()).filter(absent).collect();
        match left_out.first() {
            None => format!("steps of {}", self.step),
            Some(first) => format!(
                "steps of {}; {} frames that the file leaves out count as wholly missing, the first of {}",
                self.step,
                left_out.len(),
                self.time.dates[*first]
            ),
        }
    }

    /// Goes on to `frames` frames.
    ///
    /// # Errors
    /// When the calendar does not reach so far.
    pub fn extend(&mut self, frames: usize) -> std::result::Result<(), String> {
        while self.time.values.len() < frames {
            let (value, date) = self.next().ok_or_else(|| {
                format!("time axis: the calendar `{}` ends before frame {}", self.time.calendar, frames - 1)
            })?;
            self.time.values.push(value);
            self.time.dates.push(date);
        }
        Ok(())
    }

    /// The frame after the last one.
    fn next(&self) -> Option<(f64, Date)> {
        let TimeAxis { values, dates, .. } = &self.time;
        let (value, date) = (values[values.len() - 1], dates[dates.len() - 1]);
        if let Step::Equal(step, _) = self.step {
            return Some((value + step, self.time.date(value + step)?));
        }
        let number = |date: &Date| self.step.number(date, 0.0, (&dates[0], 0.0));
        let next = number(&date)? + 1;
        // The day of the month is that of a year ago, so that records of the last day of each month go on as such.
        let ago = dates.len().checked_sub(self.step.frames_a_year()).map_or(date, |frame| dates[frame]);
        let fits = |date: &Date| !matches!(self.step, Step::Months(_)) || date.day <= ago.day;
        let day = self.time.units_a_day();
        let mut ahead =
            (1..=366).map(|days| value + f64::from(days) * day).filter_map(|v| Some((v, self.time.date(v)?)));
        ahead.rfind(|(_, date)| number(date) == Some(next) && fits(date))
    }
}

/// The steps that an axis may have, the likeliest first.
fn steps(time: &TimeAxis) -> Vec<Step> {
    let pairs = || time.dates.windows(2);
    let months = pairs().map(|pair| months_of(&pair[1]) - months_of(&pair[0])).min().unwrap_or(0);
    let in_year = pairs().filter(|pair| pair[0].year == pair[1].year);
    let days = in_year.map(|pair| i64::from(pair[1].day_of_year) - i64::from(pair[0].day_of_year)).min().unwrap_or(0);
    let mut equal: Vec<f64> = time.values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    equal.sort_by(f64::total_cmp);
    let equal = equal[equal.len() / 2];
    let one_year = time.dates[0].year == time.dates[time.dates.len() - 1].year;
    let mut steps = Vec::new();
    if (1..=12).contains(&months) {
        steps.push(Step::Months(months));
    }
    let periods = (2..=183).contains(&days).then_some(Step::Days(days));
    if one_year && COMPOSITES.contains(&days) && (i64::from(time.dates[0].day_of_year) - 1) % days == 0 {
        steps.extend(periods);
    }
    steps.push(Step::Equal(equal, equal / time.units_a_day()));
    steps.extend(periods);
    steps
}

/// The numbers of the frames under a step that fits all of them, and of which at least half are there.
fn numbers(time: &TimeAxis, step: Step) -> Option<Vec<i64>> {
    let first = (&time.dates[0], time.values[0]);
    let each = time.dates.iter().zip(&time.values);
    let numbers: Vec<i64> = each.map(|(date, value)| step.number(date, *value, first)).collect::<Option<_>>()?;
    let ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    let frames = numbers[numbers.len() - 1] - numbers[0] + 1;
    let days = || time.dates.iter().map(|date| date.day);
    // A day of the month that wanders is no monthly step; the 15th and 16th, the 28th and 31st are.
    let steady = !matches!(step, Step::Months(_)) || days().max()? - days().min()? <= 3;
    (ascending && steady && frames <= 2 * numbers.len() as i64).then_some(numbers)
}

fn irregular(time: &TimeAxis) -> String {
    let day = time.units_a_day();
    let step = |frame: usize| (time.values[frame] - time.values[frame - 1]) / day;
    let by = |a: &usize, b: &usize| step(*a).total_cmp(&step(*b));
    let frames = || 1..time.values.len();
    let (least, most) = (frames().min_by(by).unwrap_or(1), frames().max_by(by).unwrap_or(1));
    format!(
        "time axis: expected frames a month, 8 days or another constant step apart, found steps of {:.3} days (frame \
         {least}, {}) to {:.3} days (frame {most}, {}); bring the record to a regular step first",
        step(least),
        time.dates[least],
        step(most),
        time.dates[most]
    )
}

/// The field with a frame for every step, wholly missing where it was left out.
///
/// # Errors
/// [`Error::Input`] when the time axis is irregular.
pub fn regular(mut field: Field) -> Result<(Field, Rhythm)> {
    let rhythm = Rhythm::of(&field.time).map_err(Error::Input)?;
    let pixels = field.height * field.width;
    let mut values = vec![f32::NAN; rhythm.time.values.len() * pixels];
    for (place, frame) in rhythm.places.iter().zip(field.values.chunks(pixels)) {
        values[place * pixels..][..pixels].copy_from_slice(frame);
    }
    (field.values, field.frames, field.time) = (values, rhythm.time.values.len(), rhythm.time.clone());
    Ok((field, rhythm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: impl IntoIterator<Item = f64>, units: &str, calendar: &str) -> TimeAxis {
        TimeAxis::decode(values.into_iter().collect(), units, calendar).expect("an axis")
    }

    /// The dates of the next frames.
    fn next(time: &TimeAxis, frames: usize) -> Vec<String> {
        let mut rhythm = Rhythm::of(time).expect("a rhythm");
        let n = rhythm.time.values.len();
        rhythm.extend(n + frames).expect("dates");
        let axis = rhythm.time;
        let decoded = TimeAxis::decode(axis.values.clone(), &axis.units, &axis.calendar).expect("increasing");
        assert_eq!(decoded, axis);
        axis.dates[n..].iter().map(ToString::to_string).collect()
    }

    /// The values of all days from 2019 to 2024 whose date is wanted.
    fn days(wanted: impl Fn(&Date) -> bool) -> Vec<f64> {
        let all = axis((0..2192).map(f64::from), "days since 2019-01-01", "standard");
        all.values.iter().zip(&all.dates).filter(|(_, date)| wanted(date)).map(|(value, _)| *value).collect()
    }

    const SINCE: &str = "days since 2019-01-01";

    #[test]
    fn months_go_on_by_the_calendar() {
        let first = axis(days(|date| date.day == 1 && date.year < 2020), SINCE, "standard");
        assert_eq!(Rhythm::of(&first).map(|rhythm| rhythm.step), Ok(Step::Months(1)));
        assert_eq!(next(&first, 3), ["2020-01-01", "2020-02-01", "2020-03-01"]);
        let last_day = |date: &Date| match date.month {
            2 => date.day == if date.year % 4 == 0 { 29 } else { 28 },
            4 | 6 | 9 | 11 => date.day == 30,
            _ => date.day == 31,
        };
        let ends = axis(days(|date| last_day(date) && date.year < 2021), SINCE, "standard");
        assert_eq!(next(&ends, 3), ["2021-01-31", "2021-02-28", "2021-03-31"]);
        let seasons = axis(days(|date| date.day == 15 && date.month % 3 == 1 && date.year < 2021), SINCE, "standard");
        assert_eq!(next(&seasons, 2), ["2021-01-15", "2021-04-15"]);
        let model = axis((0..30).map(|month| f64::from(month) * 30.0 * 24.0), "hours since 2000-01-16", "360_day");
        assert_eq!(next(&model, 2), ["2002-07-16", "2002-08-16"]);
    }

    #[test]
    fn composites_begin_anew_each_january() {
        let eight = |date: &Date| date.day_of_year % 8 == 1;
        let years = axis(days(|date| eight(date) && date.year < 2021), SINCE, "standard");
        let rhythm = Rhythm::of(&years).expect("a rhythm");
        assert_eq!((rhythm.step, rhythm.step.frames_a_year()), (Step::Days(8), 46));
        assert_eq!(next(&years, 2), ["2021-01-01", "2021-01-09"]);
        // Within a year nothing but the first day tells them from equal steps.
        let part = axis(days(|date| eight(date) && date.year == 2020 && date.month < 12), SINCE, "standard");
        assert_eq!(next(&part, 6)[3..], ["2020-12-26", "2021-01-01", "2021-01-09"]);
        let equal = axis((0..100).map(|i| 3.0 + 8.0 * f64::from(i)), SINCE, "standard");
        assert_eq!(Rhythm::of(&equal).map(|rhythm| rhythm.step), Ok(Step::Equal(8.0, 8.0)));
        let hours = axis((0..50).map(|i| 6.0 * f64::from(i)), "hours since 2013-01-01", "standard");
        let rhythm = Rhythm::of(&hours).expect("a rhythm");
        assert_eq!((rhythm.step.frames_a_year(), rhythm.step.to_string()), (1461, "6.000 hours".into()));
        assert_eq!(next(&hours, 3), ["2013-01-13", "2013-01-13", "2013-01-14"]);
    }

    #[test]
    fn frames_that_were_left_out_come_back_at_their_dates() {
        let left_out = |date: &Date| matches!((date.year, date.month), (2019, 3) | (2020, 6 | 7));
        for day in [1, 16] {
            let all = days(|date| date.day == day && date.year < 2021);
            let some = days(|date| date.day == day && date.year < 2021 && !left_out(date));
            let rhythm = Rhythm::of(&axis(some, SINCE, "standard")).expect("a rhythm");
            assert_eq!(rhythm.time, axis(all, SINCE, "standard"));
            assert_eq!((rhythm.places[..4].to_vec(), rhythm.places.len()), (vec![0, 1, 3, 4], 21));
        }
        let composites = days(|date| date.day_of_year % 8 == 1);
        let some = composites.iter().copied().enumerate().filter(|(i, _)| !matches!(i, 45 | 46 | 100));
        let rhythm = Rhythm::of(&axis(some.map(|(_, value)| value), SINCE, "standard")).expect("a rhythm");
        assert_eq!(rhythm.time.values, composites);
    }

    #[test]
    fn irregular_axes_are_told_with_their_dates() {
        let error = |values: &[f64]| Rhythm::of(&axis(values.to_vec(), SINCE, "standard")).expect_err("irregular");
        let said = error(&[0.0, 1.0, 5.0, 5.5, 17.0, 30.0]);
        assert!(said.contains("0.500 days (frame 3, 2019-01-06) to 13.000 days (frame 5, 2019-01-31)"), "{said}");
        assert!(error(&[0.0]).contains("at least 2 frames"));
        error(&[0.0, 40.0, 62.0, 110.0, 125.0]);
    }
}
