//! Whether two configurations say the same.

use super::*;

fn outline(text: &str) -> Outline {
    let config = read("readside.toml", text, &Environment::default());
    config.unwrap_or_else(|faults| panic!("{faults:?}")).outline
}

fn changes(from: &str, to: &str) -> Vec<String> {
    outline(from).changes_to(&outline(to)).iter().map(ToString::to_string).collect()
}

#[test]
fn other_words_for_the_same_are_no_change() {
    let other = format!("# A comment.\n{}", SHOP.replace(" = ", "   =   "));
    assert_eq!(changes(SHOP, &other), [""; 0]);
    // Defaults that are written out, another order.
    let (head, projections) = SHOP.split_at(SHOP.find("[projection.products]").expect("there"));
    let (products, orders) =
        projections.split_at(projections.find("[projection.orders]").expect("there"));
    let other = format!("{orders}\n{products}\n{head}")
        .replace("[source]", "[source]\nwal_budget = \"20GiB\"");
    assert_eq!(changes(SHOP, &other), [""; 0]);
}

#[test]
fn changes_are_told_by_their_parts() {
    let other = SHOP
        .replace("db/shop", "db/other")
        .replace("[projection.products]", "[projection.goods]")
        .replace("customer:{customer_id}:orders", "orders:{customer_id}")
        .replace("redis://cache", "redis://other")
        .replace("[http]", "[event.happened]\nmessage = \"m\"\ndata = \"content\"\nto.cache = { list = \"l\" }\n[http]");
    let found = outline(SHOP).changes_to(&outline(&other));
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "added event happened",
            "added projection goods",
            "changed projection orders",
            "changed sink cache",
            "changed source.url",
            "removed projection products",
        ]
    );
    let fixed: Vec<bool> = found.iter().map(|change| change.part.is_fixed()).collect();
    assert_eq!(fixed, [false, false, false, false, true, false]);
    let projections: Vec<_> = found.iter().filter_map(|change| change.part.projection()).collect();
    assert_eq!(projections, ["happened", "goods", "orders", "products"]);
    assert_eq!(found[4].place.to_string(), "readside.toml:3:7");
}

#[test]
fn files_count_by_what_they_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let (secret, config) = (dir.path().join("secret"), dir.path().join("readside.toml"));
    let named = format!("[source]\npassword_file = '{}'", secret.display());
    let text = SHOP.replace("[source]", &named);
    std::fs::write(&config, &text).expect("a file");
    let print = || fingerprint(&config, &Environment::default());
    let missing = print();
    std::fs::write(&secret, "one").expect("a file");
    let (one, first) = (outline(&text), print());
    assert_ne!(missing, first);
    assert_eq!(print(), first);
    std::fs::write(&secret, "two").expect("a file");
    let two = outline(&text);
    assert_ne!(print(), first);
    let told: Vec<String> = one.changes_to(&two).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["changed source.password_file"]);
    // Also while the configuration itself is broken.
    std::fs::write(&config, format!("{text}\n[projection.x]\ntabel = 1\n")).expect("a file");
    let broken = print();
    std::fs::write(&secret, "three").expect("a file");
    assert_ne!(print(), broken);
}
