//! The mean year.

/// Parts into which a climatology divides the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// The twelve months.
    Month,
    /// 46 periods of eight days, counted from 1 January as in satellite composites; the last one is shorter.
    EightDays,
}

impl Season {
    /// Periods in a year.
    pub fn periods(self) -> usize {
        match self {
            Season::Month => 12,
            Season::EightDays => 46,
        }
    }

    /// Period of a date, from 0, by its `month` and `day_of_year`, both counted from 1.
    pub fn period(self, month: u8, day_of_year: u16) -> usize {
        match self {
            Season::Month => usize::from(month) - 1,
            Season::EightDays => (usize::from(day_of_year) - 1) / 8,
        }
    }
}

/// The mean of each node in each period of the year, from the visible values of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Climatology {
    nodes: usize,
    /// `[periods, nodes]`.
    means: Vec<f32>,
}

impl Climatology {
    /// The climatology of `values` where `visible`; `periods` are those of the frames ([`Season::period`]). A node
    /// without values in a period takes the mean of all its values.
    pub fn new(values: &[f32], visible: &[bool], season: Season, periods: &[usize], otherwise: &[f32]) -> Self {
        let (nodes, year) = (otherwise.len(), season.periods());
        // The last row is the whole year.
        let mut sums = vec![(0.0f64, 0u32); (year + 1) * nodes];
        for (frame, &period) in periods.iter().enumerate() {
            for node in (0..nodes).filter(|node| visible[frame * nodes + node]) {
                for row in [period, year] {
                    let (sum, count) = &mut sums[row * nodes + node];
                    *sum += f64::from(values[frame * nodes + node]);
                    *count += 1;
                }
            }
        }
        let mean = |cell: usize| (sums[cell].1 > 0).then(|| (sums[cell].0 / f64::from(sums[cell].1)) as f32);
        let filled = |cell: usize| {
            let node = cell % nodes;
            mean(cell).or_else(|| mean(year * nodes + node)).unwrap_or(otherwise[node])
        };
        Climatology { nodes, means: (0..year * nodes).map(filled).collect() }
    }

    /// The climatology of frames in these periods, `[frames, nodes]`.
    pub fn of(&self, periods: &[usize]) -> Vec<f32> {
        periods.iter().flat_map(|period| &self.means[period * self.nodes..][..self.nodes]).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f32 = 7.0;

    #[test]
    fn a_period_without_data_takes_the_mean_of_the_node() {
        let values = [1.0, 10.0, 3.0, 20.0, 5.0, 30.0, 0.0, 0.0];
        let visible = [true, true, true, false, true, true, false, false];
        for season in [Season::Month, Season::EightDays] {
            let climatology = Climatology::new(&values, &visible, season, &[0, 1, 0, 1], &[NONE; 2]);
            assert_eq!(climatology.of(&[0, 1, 2]), [3.0, 20.0, 3.0, 20.0, 3.0, 20.0]);
            let unseen = Climatology::new(&values, &[false; 8], season, &[0, 1, 0, 1], &[NONE; 2]);
            assert_eq!(unseen.of(&[season.periods() - 1]), [NONE; 2]);
        }
    }

    #[test]
    fn every_day_has_its_period() {
        let days = [(1, 1, 0), (1, 8, 0), (1, 9, 1), (12, 360, 44), (12, 361, 45), (12, 366, 45)];
        for (month, day, period) in days {
            assert_eq!(Season::EightDays.period(month, day), period);
        }
        assert_eq!((Season::Month.period(1, 1), Season::Month.period(12, 366)), (0, 11));
    }
}
