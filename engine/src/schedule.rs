//! Learning-rate schedules by epoch.

/// The learning rate as a factor of the first one.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// 1 always.
    Constant,
    /// Multiplied by `factor` from each milestone on.
    Step {
        /// Epochs, counted from 0, at whose start the rate drops.
        milestones: Vec<usize>,
        /// What it is multiplied by each time.
        factor: f64,
    },
    /// (1 + cos(pi epoch / total)) / 2: half a cosine from 1 down to 0 (Loshchilov and Hutter 2017, "SGDR", eq. 5,
    /// without restarts).
    Cosine {
        /// Epochs until 0, where it stays.
        total: usize,
    },
}

impl Schedule {
    /// A tenth from 75 % and a hundredth from 90 % of the `epochs` on: the published training of STIMP's imputer
    /// STDDM (from epochs 375 and 450 of 500), after CSDI (Tashiro et al. 2021).
    pub fn stddm(epochs: usize) -> Schedule {
        Schedule::Step { milestones: vec![epochs * 75 / 100, epochs * 90 / 100], factor: 0.1 }
    }

    /// The factor during `epoch`, counted from 0.
    pub fn factor(&self, epoch: usize) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { milestones, factor } => {
                let drops = milestones.iter().filter(|m| **m <= epoch).count();
                factor.powi(drops as i32)
            }
            Schedule::Cosine { total } => {
                let part = epoch.min(*total) as f64 / (*total).max(1) as f64;
                (1.0 + (std::f64::consts::PI * part).cos()) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn step_drops_at_the_start_of_its_milestones() {
        let schedule = Schedule::stddm(500);
        let factors = [0, 374, 375, 449, 450, 499].map(|e| schedule.factor(e));
        for (found, expected) in factors.into_iter().zip([1.0, 1.0, 0.1, 0.1, 0.01, 0.01]) {
            assert!((found - expected).abs() < 1e-15, "{factors:?}");
        }
    }

    #[test]
    fn cosine_falls_from_one_to_zero_and_stays() {
        let schedule = Schedule::Cosine { total: 200 };
        let expected = [(0, 1.0), (50, 0.853_553_390_593_273_8), (100, 0.5), (200, 0.0), (300, 0.0)];
        for (epoch, expected) in expected {
            assert!((schedule.factor(epoch) - expected).abs() < 1e-15, "epoch {epoch}");
        }
        assert_eq!(Schedule::Cosine { total: 0 }.factor(0), 1.0);
        assert_eq!(Schedule::Constant.factor(10_000), 1.0);
    }
}
