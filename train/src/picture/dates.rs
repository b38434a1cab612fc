//! Dates along an axis.

use super::ticks::Tick;
use crate::data::time::{Date, TimeAxis};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What lies between two ticks: so many hours, days, months or years.
#[derive(Clone, Copy)]
enum Every {
    Hours(u8),
    Days(u8),
    Months(u8),
    Years(i32),
}
use Every::{Days, Hours, Months, Years};

/// From the closest ticks to the farthest.
const STEPS: [Every; 18] = [
    Hours(1),
    Hours(3),
    Hours(6),
    Hours(12),
    Days(1),
    Days(2),
    Days(5),
    Days(10),
    Months(1),
    Months(3),
    Months(6),
    Years(1),
    Years(2),
    Years(5),
    Years(10),
    Years(20),
    Years(50),
    Years(100),
];

impl Every {
    /// The tick that `date` belongs to.
    fn period(self, date: &Date) -> [i32; 4] {
        let Date { year, month, day, hour, .. } = *date;
        match self {
            Hours(n) => [year, month.into(), day.into(), (hour / n).into()],
            // The last days of a month belong to the tick before them.
            Days(n) => [year, month.into(), ((day - 1) / n).min(30 / n - 1).into(), 0],
            Months(n) => [year, ((month - 1) / n).into(), 0, 0],
            Years(n) => [year.div_euclid(n), 0, 0, 0],
        }
    }

    /// Whether the first frame, which may lie anywhere in its period, lies near enough to its start.
    fn starts(self, date: &Date) -> bool {
        match self {
            Hours(n) => date.hour.is_multiple_of(n),
            Days(n) => (date.day - 1).is_multiple_of(n),
            Months(n) => (date.month - 1).is_multiple_of(n) && date.day <= 8,
            Years(n) => date.year.rem_euclid(n) == 0 && date.month == 1,
        }
    }

    /// `date` as far as it tells ticks apart, after the tick `before`; the first says what the others leave out.
    fn label(self, date: &Date, before: Option<&Date>) -> String {
        let day = |date: &Date| (date.year, date.month, date.day);
        let month = MONTHS[usize::from(date.month.clamp(1, 12)) - 1];
        match self {
            Hours(_) if before.is_some_and(|before| day(before) == day(date)) => format!("{:02}:00", date.hour),
            Hours(_) | Days(_) if before.is_none() => format!("{} {month} {}", date.day, date.year),
            Hours(_) | Days(_) => format!("{} {month}", date.day),
            Months(_) if date.month == 1 || before.is_none() => format!("{month} {}", date.year),
            Months(_) => month.to_owned(),
            Years(_) => date.year.to_string(),
        }
    }
}

/// The first frames of hours, days, months or years: at most `count`.
pub(super) fn ticks(time: &TimeAxis, count: usize) -> Vec<Tick> {
    let dates = &time.dates;
    let frames = |every: Every| -> Vec<usize> {
        let first = |i: &usize| match i.checked_sub(1) {
            Some(before) => every.period(&dates[*i]) != every.period(&dates[before]),
            None => every.starts(&dates[0]),
        };
        (0..dates.len()).filter(first).collect()
    };
    // Periods that hold one frame here and two there would make uneven ticks.
    let even = |ticks: usize| ticks + 1 >= dates.len() || 2 * ticks <= dates.len();
    let fits = |(_, frames): &(Every, Vec<usize>)| frames.len() <= count && even(frames.len());
    let fitting = STEPS.into_iter().map(|every| (every, frames(every))).find(fits);
    let Some((every, frames)) = fitting else { return Vec::new() };
    let before = |i: usize| Some(&dates[frames[i.checked_sub(1)?]]);
    let tick = |(i, frame): (usize, &usize)| Tick {
        value: time.values[*frame],
        label: every.label(&dates[*frame], before(i)),
    };
    frames.iter().enumerate().map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: Vec<f64>, units: &str, count: usize) -> Vec<String> {
        let time = TimeAxis::decode(values, units, "standard").expect("dates");
        ticks(&time, count).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_the_first_frames_of_periods() {
        let eight_days = || (0..20).map(|frame| 8.0 * f64::from(frame)).collect::<Vec<_>>();
        assert_eq!(labels(eight_days(), "days since 2020-03-05", 8), ["Mar 2020", "Apr", "May", "Jun", "Jul", "Aug"]);
        assert_eq!(labels(eight_days(), "days since 2020-03-05", 15).len(), 6, "ten days are no even step");
        assert_eq!(labels(vec![0.0, 8.0], "days since 2020-03-05", 5), ["5 Mar 2020", "13 Mar"]);
        assert_eq!(labels(eight_days(), "days since 2020-03-09", 4), ["Apr 2020", "Jul"]);
        assert_eq!(labels(vec![0.5, 1.5], "days since 2020-03-05", 5), ["5 Mar 2020", "6 Mar"]);
        let hours = (0..48).map(f64::from).collect();
        assert_eq!(labels(hours, "hours since 2019-03-01", 4), ["1 Mar 2019", "12:00", "2 Mar", "12:00"]);
        let years = (0..60).map(|year| 365.2425 * f64::from(year)).collect();
        assert_eq!(labels(years, "days since 1961-01-02", 7), ["1970", "1980", "1990", "2000", "2010", "2020"]);
    }
}
