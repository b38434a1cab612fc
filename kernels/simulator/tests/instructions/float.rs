use crate::{floats, longs, words};

const TINY: f32 = f32::from_bits(1);

#[test]
fn arithmetic_rounds_to_nearest() {
    let cases = [[1.5, 2.0, 4.0], [1.0 + f32::EPSILON, 1.0 + f32::EPSILON, -1.0]];
    assert_eq!(floats("add.f32 d, a, b;", &cases)[0], 3.5);
    assert_eq!(floats("sub.rn.f32 d, a, b;", &cases)[0], -0.5);
    assert_eq!(floats("mul.f32 d, a, b;", &cases)[0], 3.0);
    assert_eq!(floats("div.rn.f32 d, a, c;", &cases)[0], 0.375);
    // One rounding: (1 + e)^2 - 1 = 2 e + e^2, where a product rounded first would give 2 e.
    let e = f32::EPSILON;
    assert_eq!(floats("fma.rn.f32 d, a, b, c;", &cases), [7.0, 2.0 * e + e * e]);
    assert_eq!(floats("mad.rn.f32 d, a, b, c;", &cases)[1], 2.0 * e + e * e);
}

#[test]
fn doubles() {
    let bits = |x: f64| x.to_bits();
    let cases = [[bits(3.0), bits(0.5), bits(-1.0)]];
    for (body, expected) in [
        ("add.f64 ld, la, lb;", 3.5),
        ("mul.rn.f64 ld, la, lb;", 1.5),
        ("fma.rn.f64 ld, la, lb, lc;", 0.5),
        ("div.rn.f64 ld, la, lb;", 6.0),
        ("sqrt.rn.f64 ld, la;", 3f64.sqrt()),
        ("max.f64 ld, la, lc;", 3.0),
        ("neg.f64 ld, la;", -3.0),
        ("copysign.f64 ld, lc, la;", -3.0),
    ] {
        assert_eq!(f64::from_bits(longs(body, &cases)[0]), expected, "{body}");
    }
}

#[test]
fn subnormals_are_flushed_when_asked() {
    let cases = [[TINY, 1.0, 0.0], [-TINY, 1.0, 0.0], [f32::MIN_POSITIVE, 0.5, 0.0]];
    assert_eq!(floats("mul.f32 d, a, b;", &cases), [TINY, -TINY, f32::MIN_POSITIVE / 2.0]);
    let flushed = floats("mul.ftz.f32 d, a, b;", &cases);
    assert_eq!(flushed.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), [0, 0x8000_0000, 0]);
    assert_eq!(floats("fma.rn.ftz.f32 d, a, b, c;", &cases), [0.0, 0.0, 0.0]);
}

#[test]
fn saturation_clamps_to_the_unit_interval() {
    let cases = [[0.75, 0.5, 0.0], [-3.0, 1.0, 0.0], [f32::NAN, 1.0, 0.0]];
    assert_eq!(floats("add.sat.f32 d, a, b;", &cases), [1.0, 0.0, 0.0]);
    assert_eq!(floats("mul.sat.f32 d, a, b;", &cases), [0.375, 0.0, 0.0]);
}

#[test]
fn minimum_and_maximum_prefer_numbers_and_order_zeros() {
    let nan = f32::NAN;
    let cases =
        [[1.0, 2.0, 0.0], [nan, 2.0, 0.0], [2.0, nan, 0.0], [0.0, -0.0, 0.0], [-0.0, 0.0, 0.0], [nan, nan, 0.0]];
    let bits = |body| floats(body, &cases).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let [one, two, zero, minus] = [1.0f32, 2.0, 0.0, -0.0].map(f32::to_bits);
    // Both NaN gives the canonical one.
    assert_eq!(bits("min.f32 d, a, b;"), [one, two, two, minus, minus, 0x7fff_ffff]);
    assert_eq!(bits("max.f32 d, a, b;"), [two, two, two, zero, zero, 0x7fff_ffff]);
    assert_eq!(bits("min.NaN.f32 d, a, b;"), [one, 0x7fff_ffff, 0x7fff_ffff, minus, minus, 0x7fff_ffff]);
    assert_eq!(bits("max.NaN.f32 d, a, b;")[1], 0x7fff_ffff);
}

#[test]
fn signs() {
    assert_eq!(floats("abs.f32 d, a;", &[[-2.0, 0.0, 0.0]]), [2.0]);
    assert_eq!(floats("neg.f32 d, a;", &[[-2.0, 0.0, 0.0]]), [2.0]);
    // The sign of the first, the magnitude of the second.
    assert_eq!(floats("copysign.f32 d, a, b;", &[[-0.0, 3.0, 0.0], [1.0, -3.0, 0.0]]), [-3.0, 3.0]);
}

/// The errors that the PTX ISA documents, against f64.
#[test]
fn approximations_stay_within_their_documented_error() {
    let steps = |from: f64, to: f64| (0..32).map(move |i| (from + (to - from) * f64::from(i) / 31.0) as f32);
    let check = |body: &str, x: Vec<f32>, exact: fn(f64) -> f64, error: fn(f64, f64) -> f64, most: f64| {
        let cases: Vec<[f32; 3]> = x.iter().map(|x| [*x, 0.0, 0.0]).collect();
        for (x, y) in x.iter().zip(floats(body, &cases)) {
            let exact = exact(f64::from(*x));
            assert!(error(f64::from(y), exact) <= most, "{body} of {x}: {y}, not {exact}");
        }
    };
    let relative = |y: f64, exact: f64| ((y - exact) / exact).abs();
    let absolute = |y: f64, exact: f64| (y - exact).abs();
    let positive = || steps(0.01, 900.0).collect::<Vec<_>>();
    check("rcp.approx.f32 d, a;", positive(), |x| 1.0 / x, relative, 2f64.powi(-23));
    check("rcp.rn.f32 d, a;", positive(), |x| 1.0 / x, relative, 2f64.powi(-24));
    check("sqrt.approx.f32 d, a;", positive(), f64::sqrt, relative, 2f64.powi(-23));
    check("sqrt.rn.f32 d, a;", positive(), f64::sqrt, relative, 2f64.powi(-24));
    check("rsqrt.approx.f32 d, a;", positive(), |x| 1.0 / x.sqrt(), relative, 2f64.powf(-22.9));
    check("ex2.approx.f32 d, a;", steps(-30.0, 30.0).collect(), f64::exp2, relative, 2f64.powf(-22.5));
    check("lg2.approx.f32 d, a;", steps(3.0, 900.0).collect(), f64::log2, relative, 2f64.powi(-22));
    check("lg2.approx.f32 d, a;", steps(0.51, 1.99).collect(), f64::log2, absolute, 2f64.powi(-22));
    let turn = || steps(-std::f64::consts::PI, std::f64::consts::PI).collect::<Vec<_>>();
    check("sin.approx.f32 d, a;", turn(), f64::sin, absolute, 2f64.powf(-20.5));
    check("cos.approx.f32 d, a;", turn(), f64::cos, absolute, 2f64.powf(-20.5));
    check("tanh.approx.f32 d, a;", steps(0.02, 4.0).collect(), f64::tanh, relative, 2f64.powi(-11));
    check("div.approx.f32 d, 0f3F800000, a;", positive(), |x| 1.0 / x, relative, 2f64.powi(-22));
    check("div.full.f32 d, 0f3F800000, a;", positive(), |x| 1.0 / x, relative, 2f64.powi(-22));
}

/// The tables of special values in the PTX ISA.
#[test]
fn approximations_of_special_values() {
    let inf = f32::INFINITY;
    let special = [[-inf, 0.0, 0.0], [-0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [inf, 0.0, 0.0], [f32::NAN, 0.0, 0.0]];
    let of = |body: &str| floats(body, &special).iter().map(|y| y.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(of("rcp.approx.f32 d, a;"), "-0 -inf inf 0 NaN");
    assert_eq!(of("sqrt.approx.f32 d, a;"), "NaN -0 0 inf NaN");
    assert_eq!(of("rsqrt.approx.f32 d, a;"), "NaN -inf inf 0 NaN");
    assert_eq!(of("ex2.approx.f32 d, a;"), "0 1 1 inf NaN");
    assert_eq!(of("lg2.approx.f32 d, a;"), "NaN -inf -inf inf NaN");
    assert_eq!(of("sin.approx.f32 d, a;"), "NaN -0 0 NaN NaN");
    assert_eq!(of("cos.approx.f32 d, a;"), "NaN 1 1 NaN NaN");
    assert_eq!(of("tanh.approx.f32 d, a;"), "-1 -0 0 1 NaN");
    // A subnormal input is a zero with .ftz.
    assert_eq!(floats("lg2.approx.ftz.f32 d, a;", &[[TINY, 0.0, 0.0]]), [-inf]);
    assert_eq!(words("ex2.approx.ftz.f32 d, a;", &[[(-140f32).to_bits(), 0, 0]]), [0]);
    assert_eq!(words("ex2.approx.f32 d, a;", &[[(-140f32).to_bits(), 0, 0]]), [1 << 9]);
}
