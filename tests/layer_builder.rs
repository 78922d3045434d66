//! The layer's builder has every setter of the logger's.

/// The setters of `Builder` as they stand in its sources.
fn setters() -> Vec<&'static str> {
    let sources = [
        include_str!("../src/config.rs"),
        include_str!("../src/back_pressure.rs"),
        include_str!("../src/recorder.rs"),
    ];
    let names = sources.into_iter().flat_map(str::lines).filter_map(|line| {
        let rest = line.trim().strip_prefix("pub fn ")?;
        let (name, arguments) = rest.split_once('(')?;
        let takes_itself = arguments.starts_with("mut self") || arguments.starts_with("self");
        takes_itself.then_some(name)
    });
    names.collect()
}

#[test]
fn every_setter_of_the_logger_is_one_of_the_layer() {
    let names = setters();
    assert!(
        names.contains(&"app") && names.contains(&"env") && names.contains(&"back_pressure"),
        "{names:?}"
    );
    let source = include_str!("../src/layer/builder.rs");
    let (_, list) = source.split_once("\nsetters! {").expect("the list");
    let (list, _) = list.split_once("\n}").expect("its end");
    let missing: Vec<_> =
        names.iter().filter(|name| !list.contains(&format!("\n    {name}("))).collect();
    assert!(missing.is_empty(), "src/layer/builder.rs: add {missing:?} to `setters!`");
}
