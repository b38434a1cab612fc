//! The time axis: CF time coordinates decoded to calendar dates (CF Conventions, section 4.4).

use netcdf_reader::cf::time::{CfCalendar, CfDateTime, CfTimeRef, CfTimeUnit, decode_time_exact, parse_time_units};

/// A date and time of day in the calendar of its [`TimeAxis`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Day of the year, from 1.
    pub day_of_year: u16,
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A time coordinate, one value per frame.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeAxis {
    /// Values as stored, in `units`.
    pub values: Vec<f64>,
    /// CF units, such as `seconds since 1970-01-01`.
    pub units: String,
    /// CF calendar, such as `standard` or `360_day`.
    pub calendar: String,
    /// The values as dates.
    pub dates: Vec<Date>,
}

impl TimeAxis {
    /// Decodes CF time values; they must increase.
    ///
    /// # Errors
    /// What is wrong with the units, the calendar or a value, as the end of a sentence that the
    /// caller begins with the file and the variable.
    pub fn decode(values: Vec<f64>, units: &str, calendar: &str) -> std::result::Result<Self, String> {
        let reference = reference(units, calendar)?;
        if let Some(i) = (1..values.len()).find(|&i| values[i] <= values[i - 1]) {
            let (before, here) = (values[i - 1], values[i]);
            return Err(format!(
                "expected increasing values, found {before:?} then {here:?} at frames {} and {i}",
                i - 1
            ));
        }
        let decode = |(i, &value): (usize, &f64)| {
            decode_time_exact(value, &reference)
                .map(|date| date_of(&date))
                .map_err(|error| format!("the value {value:?} of frame {i} is no date: {error}"))
        };
        let dates = values.iter().enumerate().map(decode);
        Ok(TimeAxis {
            dates: dates.collect::<std::result::Result<_, _>>()?,
            units: units.to_owned(),
            calendar: calendar.to_owned(),
            values,
        })
    }

    /// Days from one frame to the next, the median over the record; `None` for fewer than two frames.
    pub fn typical_step(&self) -> Option<f64> {
        let day =
            |date: &Date| f64::from(date.year) * 365.25 + f64::from(date.day_of_year) + f64::from(date.hour) / 24.0;
        let mut steps: Vec<f64> = self.dates.windows(2).map(|pair| day(&pair[1]) - day(&pair[0])).collect();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied()
    }

    /// Every frame's time as a fraction of its year.
    pub fn year_fractions(&self) -> Vec<f32> {
        let days = if self.calendar.trim().eq_ignore_ascii_case("360_day") { 360.0 } else { 365.25 };
        let fraction = |date: &Date| (f64::from(date.day_of_year - 1) + f64::from(date.hour) / 24.0) / days;
        self.dates.iter().map(|date| fraction(date) as f32).collect()
    }

    /// How many of the axis's units a day has.
    pub(super) fn units_a_day(&self) -> f64 {
        match reference(&self.units, &self.calendar).map(|reference| reference.unit) {
            Ok(CfTimeUnit::Seconds) => 86_400.0,
            Ok(CfTimeUnit::Minutes) => 1440.0,
            Ok(CfTimeUnit::Hours) => 24.0,
            // Of the calendar `360_day`, the only one in which they are read.
            Ok(CfTimeUnit::Months) => 1.0 / 30.0,
            // The axis was decoded, so its units are those.
            Ok(CfTimeUnit::Days) | Err(_) => 1.0,
        }
    }

    /// The date of a value that a day, a month or a year hence might have; `None` beyond what the calendar knows.
    pub(super) fn date(&self, value: f64) -> Option<Date> {
        let reference = reference(&self.units, &self.calendar).ok()?;
        decode_time_exact(value, &reference).ok().map(|date| date_of(&date))
    }

    /// The part of the axis over `frames`, which must lie within it.
    pub fn slice(&self, frames: std::ops::Range<usize>) -> TimeAxis {
        TimeAxis {
            values: self.values[frames.clone()].to_vec(),
            units: self.units.clone(),
            calendar: self.calendar.clone(),
            dates: self.dates[frames].to_vec(),
        }
    }
}

fn reference(units: &str, calendar: &str) -> std::result::Result<CfTimeRef, String> {
    const CALENDARS: &str = "standard, gregorian, proleptic_gregorian, julian, noleap, 365_day, \
                             all_leap, 366_day, 360_day";
    let name = calendar.trim().to_lowercase();
    if !CALENDARS.split(", ").any(|known| known == name) {
        return Err(format!("expected a calendar of {CALENDARS}, found `{calendar}`"));
    }
    let expected = || {
        format!(
            "expected units such as `days since 2000-01-01` (seconds, minutes, hours, days; UTC), \
             found `{units}`"
        )
    };
    let plain = without_zone(units).ok_or_else(expected)?;
    parse_time_units(&plain, CfCalendar::parse(&name)).map_err(|_| expected())
}

/// `units` in the form that the reader parses: no zone, a full time of day. None if it names a
/// zone that is not UTC.
fn without_zone(units: &str) -> Option<String> {
    let words: Vec<&str> = units.split_whitespace().collect();
    let [unit, since, date, clock @ ..] = words.as_slice() else {
        return None;
    };
    let (date, joined) = date.split_once('T').unwrap_or((date, ""));
    let clock: String = [joined].iter().chain(clock).copied().collect();
    let zones = ["Z", "UTC", "GMT", "+00:00", "+00", "+0:00"];
    let time = zones.iter().find_map(|zone| clock.strip_suffix(zone)).unwrap_or(&clock);
    // A fraction of zeros is common and carries nothing.
    let time = match time.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => time,
    };
    let plain = units.is_ascii() && time.bytes().all(|b| b.is_ascii_digit() || b":.".contains(&b));
    let time = match time {
        "" => "0:0".to_owned(),
        hour if !hour.contains(':') => format!("{hour}:0"),
        full => full.to_owned(),
    };
    plain.then(|| format!("{unit} {since} {date} {time}"))
}

fn date_of(date: &CfDateTime) -> Date {
    Date {
        year: date.year,
        month: date.month,
        day: date.day,
        hour: date.hour,
        minute: date.minute,
        second: date.second,
        day_of_year: day_of_year(date),
    }
}

fn day_of_year(date: &CfDateTime) -> u16 {
    let (month, day) = (u16::from(date.month), u16::from(date.day));
    if date.calendar == CfCalendar::Day360 {
        return (month - 1) * 30 + day;
    }
    const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let every_four = date.year % 4 == 0;
    let gregorian = every_four && (date.year % 100 != 0 || date.year % 400 == 0);
    let leap = match date.calendar {
        CfCalendar::NoLeap | CfCalendar::Day360 => false,
        CfCalendar::AllLeap => true,
        CfCalendar::Julian => every_four,
        CfCalendar::Standard if date.year < 1582 => every_four,
        CfCalendar::Standard | CfCalendar::ProlepticGregorian => gregorian,
    };
    BEFORE[usize::from(month - 1)] + day + u16::from(leap && month > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ymd(units: &str, calendar: &str, value: f64) -> (i32, u8, u8, u16) {
        let axis = TimeAxis::decode(vec![value], units, calendar).unwrap();
        let date = axis.dates[0];
        (date.year, date.month, date.day, date.day_of_year)
    }

    #[test]
    fn the_usual_units_decode() {
        let epoch = "seconds since 1970-01-01T00:00:00Z";
        assert_eq!(ymd(epoch, "standard", 883_612_800.0), (1998, 1, 1, 1));
        for units in [
            "hours since 2020-01-01",
            "hours since 2020-1-1 0:0:0.000000",
            "hours since 2020-01-01 00:00:00 UTC",
            "Hours since 2020-01-01 00:00:00+00:00",
            "hours since 2020-01-01 00",
        ] {
            assert_eq!(ymd(units, "gregorian", 24.0 * 60.0), (2020, 3, 1, 61), "{units}");
        }
        assert_eq!(ymd("minutes since 2019-12-31 23:30", "standard", 30.0), (2020, 1, 1, 1));
        let axis = TimeAxis::decode(vec![0.5], "days since 2000-06-30", "standard").unwrap();
        assert_eq!((axis.dates[0].hour, axis.dates[0].day), (12, 30));
    }

    #[test]
    fn model_calendars_decode() {
        let units = "days since 2000-01-01";
        assert_eq!(ymd(units, "noleap", 59.0), (2000, 3, 1, 60));
        assert_eq!(ymd(units, "360_day", 59.0), (2000, 2, 30, 60));
        assert_eq!(ymd(units, "proleptic_gregorian", 60.0), (2000, 3, 1, 61));
    }

    #[test]
    fn a_slice_keeps_values_and_dates_together() {
        let units = "days since 2000-01-01";
        let axis = TimeAxis::decode(vec![0.0, 31.0, 60.0], units, "standard").unwrap();
        let decoded = TimeAxis::decode(vec![31.0, 60.0], units, "standard").unwrap();
        assert_eq!(axis.slice(1..3), decoded);
        assert_eq!(decoded.dates[1].month, 3);
    }

    #[test]
    fn the_typical_step_is_in_days() {
        let step = |values: &[f64], units: &str| {
            TimeAxis::decode(values.to_vec(), units, "standard").unwrap().typical_step().unwrap_or(f64::NAN)
        };
        assert!((step(&[0.0, 31.0, 60.0, 91.0], "days since 2000-01-01") - 31.0).abs() < 0.5);
        // 8-day composites with one left out.
        assert_eq!(step(&[0.0, 192.0, 576.0, 768.0], "hours since 2000-03-01"), 8.0);
        assert_eq!(step(&[0.0, 6.0, 12.0], "hours since 2000-03-01"), 0.25);
        assert!(step(&[0.0], "days since 2000-01-01").is_nan());
    }

    #[test]
    fn what_cannot_be_decoded_is_said() {
        let error = |values: &[f64], units: &str, calendar: &str| {
            TimeAxis::decode(values.to_vec(), units, calendar).unwrap_err()
        };
        let units = "days since 2000-01-01";
        assert!(error(&[0.0], "days", "standard").contains("found `days`"));
        assert!(error(&[0.0], "months since 2000-01-01 -6:00", "standard").contains("-6:00"));
        assert!(error(&[0.0], units, "lunar").contains("found `lunar`"));
        assert!(error(&[1.0, 1.0], units, "standard").contains("frames 0 and 1"));
        assert!(error(&[f64::NAN], units, "standard").contains("frame 0"));
        assert!(error(&[1e300], units, "standard").contains("1e300"));
    }
}
