//! The status page in a real browser, over a daemon's day: a load, work, a store that is away, refused
//! rows, a token.

use std::fs;

use crate::harness::browser::Browser;
use crate::harness::{Daemon, http, wait};
use crate::world::World;

/// Markup in every place that the page shows text from.
const SHOP: &str = "
    CREATE TABLE customers (customer_id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, total numeric NOT NULL);
    INSERT INTO customers SELECT i, '<b>Customer ' || i || '</b>' FROM generate_series(1, 200) AS i;
    INSERT INTO orders SELECT i, 1 + i % 200, i FROM generate_series(1, 400) AS i;
    ANALYZE;";

#[tokio::test]
async fn the_page_shows_what_the_daemon_does() {
    let (world, browser) = tokio::join!(World::new(SHOP), Browser::start());
    let summary = world.name("order_summary");
    let projections = format!(
        "{}{}[projection.{summary}]\nquery = '''\n\
           SELECT o.order_id, c.name, o.total, '<i>markup</i>' AS note\n\
           FROM orders o\n\
           JOIN customers c ON c.customer_id = o.customer_id'''\n\
         to.reporting = {{ table = 'order_summary' }}\n\
         to.cache = {{ sorted_set = 'by-total', member = '{{order_id}}', score = 'total' }}\n",
        world.projection("customers", "customers", &["customer_id"]),
        world.projection("orders", "orders", &["order_id"]),
    );
    let config = world.config(&projections);

    // Slow enough to be seen.
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 20\n", &projections));
    let (http, health) = (http(), format!("{}/healthz", daemon.url()));
    wait::until("the daemon to answer", async || http.get(&health).send().await.map(drop)).await;
    browser.open(&daemon.url()).await;
    browser.until_text("h1", "Loading ").await;
    browser.until_text(".load", "public.orders").await;
    assert_eq!(browser.run("return document.querySelector('progress').max > 0").await, true);
    browser.screenshot("loading").await;

    // It goes on by itself when the daemon is there again.
    daemon.set_config(&config);
    daemon.restart();
    daemon.wait_ready().await;
    browser.until_text("h1", "In step").await;
    browser.until_text(".why", "3 read models in 3 stores are exact as of").await;
    let flow = browser.until_text("#flow", "streaming").await;
    for word in [&*summary, "in step", "reporting", "cache", "search", "Elasticsearch"] {
        assert!(flow.contains(word), "{word} is not in {flow}");
    }
    let wires = "return document.querySelectorAll('#wires .wire').length";
    assert_eq!(
        browser.run(wires).await,
        3 + 8,
        "each projection from the source, and to its stores"
    );
    let work = async {
        for round in 0.. {
            world
                .execute(&format!("UPDATE orders SET total = total + {round} WHERE order_id < 40"))
                .await;
            wait::delay(std::time::Duration::from_millis(50)).await;
        }
    };
    let seen = async {
        browser.until_text(".models", "rows/s").await;
        browser.until_text(".figures", "99 % within").await;
        assert!(browser.run("return document.querySelectorAll('#wires .drop').length").await != 0);
        browser.screenshot("healthy").await;
    };
    tokio::select! {
        () = work => unreachable!("it has no end"),
        () = seen => {}
    }

    // One projection: what it is, how it is kept, its rows, all of it as text.
    browser.click(&format!("[data-node='p/{summary}']")).await;
    browser.until_text("dialog pre", "SELECT o.order_id, c.name").await;
    browser.until_text("dialog", "In memory").await;
    let shown = browser.until_text("dialog", "<b>Customer 2</b>").await;
    for word in
        ["<i>markup</i>", "table public.order_summary", "sorted set by-total", "Exact as of"]
    {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    assert_eq!(
        browser.run("return document.querySelectorAll('b > b, td b, td i, pre i').length").await,
        0
    );
    let names = "return [...document.querySelectorAll('dialog section th')].slice(-8).map((th) => th.innerText).join()";
    assert_eq!(
        browser.run(names).await,
        "order_id key,name,total,note,In memory,Rows,Size,Also for"
    );
    browser.screenshot("projection").await;
    browser.click("dialog .close").await;
    assert_eq!(browser.run("return document.querySelector('dialog').open").await, false);

    // Nothing else runs there.
    let foreign =
        "const s = document.createElement('script'); s.textContent = 'window.foreign = 1';
                   document.body.append(s); return window.foreign ?? 'refused'";
    assert_eq!(browser.run(foreign).await, "refused");
    let refused = browser.complaints().await;
    assert!(refused.iter().any(|line| line.contains("Content Security Policy")), "{refused:?}");

    // As wide as a phone, and in the dark.
    browser.dark(true).await;
    browser.screenshot("dark").await;
    browser.resize(390, 844).await;
    let overflow = "return document.documentElement.scrollWidth - window.innerWidth";
    assert_eq!(browser.run(overflow).await, 0, "it scrolls sideways on a phone");
    let chips = browser.text(".models .chips").await;
    assert!(chips.contains("reporting") && chips.contains("cache"), "{chips}");
    browser.screenshot("phone").await;
    browser.dark(false).await;
    browser.resize(1280, 860).await;

    // A store that is away stands first, with its own words and what to do.
    world.cache_net.cut();
    world.execute("UPDATE orders SET total = 1 WHERE order_id = 1").await;
    browser.until_text("h1", "cache is down").await;
    browser.until_text(".verdict .said", "127.0.0.1").await;
    browser.until_text(".verdict .why", "catches up by itself").await;
    browser.until_text(".models", "waits for cache").await;
    assert!(browser.run("return document.title").await.as_str().unwrap().starts_with('✕'));
    browser.screenshot("sink-down").await;
    world.cache_net.heal();
    browser.until_text("h1", "In step").await;

    // No score, so no entry; the other stores have the row.
    world.execute("UPDATE orders SET total = 'NaN' WHERE order_id IN (2, 3)").await;
    browser.until_text("h1", &format!("2 dead letters: {summary} in cache")).await;
    browser.until_text(".verdict .why", "readside dead-letters list").await;
    browser.screenshot("dead-letters").await;
    world.execute("UPDATE orders SET total = 2 WHERE order_id IN (2, 3)").await;
    browser.until_text("h1", "In step").await;
    let complaints = browser.complaints().await;
    let of_page: Vec<_> = complaints.iter().filter(|line| !line.contains("\"network\"")).collect();
    assert!(of_page.is_empty(), "{of_page:?}");

    // A daemon that is away is told, and a token is asked for where one is set.
    let token = daemon.state_dir().with_file_name("token");
    fs::write(&token, "s3cret\n").unwrap();
    daemon.kill9();
    browser.until_text("h1", "Readside does not answer").await;
    daemon.set_config(&format!("{config}[http]\ntoken_file = '{}'\n", token.display()));
    daemon.restart();
    browser.until_text("form.token", "Readside wants a token").await;
    browser.screenshot("token").await;
    browser.type_into("#token", "other").await;
    browser.click("form.token button").await;
    browser.until_text("form.token", "That is another one.").await;
    browser.run("document.querySelector('#token').value = ''").await;
    browser.type_into("#token", "s3cret").await;
    browser.click("form.token button").await;
    browser.until_text("h1", "In step").await;
    // Opened anew, it is asked for by the page that the refusal itself shows, unless this tab knows it.
    browser.open(&daemon.url()).await;
    browser.until_text("h1", "In step").await;
}
