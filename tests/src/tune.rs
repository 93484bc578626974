//! The kept choice of variants.

use percept_engine::ops::MatmulVariant;
use percept_engine::tune::{self, Precision, Tuning};

#[test]
fn a_choice_is_kept_per_adapter() {
    let device = crate::common::gpu();
    let adapter = device.adapter().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/tuning.json");
    assert_eq!(tune::read(&path, adapter).unwrap(), None);
    let tuning = Tuning { thin: Some(MatmulVariant::Skinny), wide: None };
    tune::save(&path, adapter, tuning).unwrap();
    assert_eq!(tune::read(&path, adapter).unwrap(), Some(tuning));
    let mut other = adapter.clone();
    other.driver_info = "a newer driver".into();
    assert_eq!(tune::read(&path, &other).unwrap(), None);

    // a device uses it when it is told to, not before
    let device = crate::common::open(|selector| selector);
    assert_eq!(device.tuning(), Tuning::default());
    tune::load_from(&path, &device);
    assert_eq!(device.tuning(), tuning);

    std::fs::write(&path, r#"{"x": {"thin": "quantum"}}"#).unwrap();
    tune::load_from(&path, &device);
    assert_eq!(device.tuning(), tuning, "a file that cannot be read changes nothing");
    let error = tune::read(&path, adapter).unwrap_err().to_string();
    assert!(error.contains("tuning.json") && error.contains("quantum") && error.contains("delete the file"), "{error}");
}

#[test]
fn a_variant_that_rounds_is_measured_but_not_chosen() {
    let device = crate::common::gpu();
    let (tuning, measurements) = tune::tune(&device, Precision::Single).unwrap();
    // where there is no f16, nothing rounds
    let rounds = measurements.iter().any(|m| !m.exact && m.error > 1e-5);
    assert_eq!(rounds, device.adapter().unwrap().f16, "{measurements:?}");
    for chosen in [tuning.thin, tuning.wide] {
        assert!(measurements.iter().any(|m| Some(m.variant) == chosen && m.exact), "{tuning:?}");
    }
}
