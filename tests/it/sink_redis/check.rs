//! Connections, and what `check` finds.

use super::*;

#[tokio::test]
async fn passwords_users_databases_and_tls() {
    let certificates = Certificates::make();
    let options =
        RedisOptions { password: Some("s3cret"), tls: Some(&certificates), ..Default::default() };
    let redis = Redis::start(&options).await;
    set_user(&redis, "app", &["on", ">pw", "~*", "+@all"]).await;
    let orders = anchored();
    let reach = async |url: &str,
                       username: Option<&str>,
                       password: Option<&str>,
                       ca_file: Option<PathBuf>| {
        let mut config = config(&redis);
        config.url = Secret::new(url);
        config.username = username.map(Into::into);
        config.password = password.map(Secret::new);
        config.ca_file = ca_file;
        let mut sink = RedisSink::new(&config, OWNER.into(), vec![orders.clone()]).unwrap();
        let opened = sink.open().await;
        if opened.is_ok() {
            sink.begin_fill(0, 1).await.unwrap();
        }
        let found = check(&config, Some(OWNER), std::slice::from_ref(&orders)).await;
        assert_eq!(found.is_empty(), opened.is_ok(), "{found:?}");
        opened.map(drop).map_err(why)
    };
    let ca = || Some(certificates.authority.clone());
    let port = redis.port();
    let plain = format!("rediss://127.0.0.1:{port}/3");
    assert_eq!(reach(&plain, None, Some("s3cret"), ca()).await, Ok(()));
    assert_eq!(reach(&plain, Some("app"), Some("pw"), ca()).await, Ok(()));
    assert_eq!(reach(&format!("rediss://app:pw@127.0.0.1:{port}"), None, None, ca()).await, Ok(()));
    assert_eq!(
        reach(&plain, Some("app"), Some("wrong"), ca()).await,
        Err(format!(
            "retryable: cannot connect to 127.0.0.1:{port}: Redis refuses the user name or the password"
        ))
    );
    assert_eq!(
        reach(&plain, None, None, ca()).await,
        Err(format!("retryable: cannot connect to 127.0.0.1:{port}: Redis asks for a password"))
    );
    assert_eq!(
        reach(&plain, None, Some("s3cret"), None).await,
        Err(format!("retryable: cannot connect to 127.0.0.1:{port}: TLS failed"))
    );
    let mut database: Connection = redis.client().await;
    ::redis::cmd("SELECT").arg(3).exec_async(&mut database).await.unwrap();
    assert!(database.exists::<_, bool>("readside:watermark:orders").await.unwrap());
}

#[tokio::test]
async fn check_finds_what_would_fail_and_creates_nothing() {
    let settings = [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];
    let redis = Redis::start(&RedisOptions { settings: &settings, ..Default::default() }).await;
    set_user(&redis, "app", &["on", ">pw", "~readside:*", "~order:*", "+@all", "-hlen"]).await;
    let mut client = redis.client().await;
    let orders = anchored();
    let mut config = config(&redis);
    let said = async |config: &SinkConfig, owner: &str, projection: &SinkProjection| {
        let found = check(config, Some(owner), std::slice::from_ref(projection)).await;
        found
            .into_iter()
            .map(|d| format!("{}\n{}", d.what, d.hint.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said(&config, OWNER, &orders).await,
        [
            "sink.cache: maxmemory-policy is allkeys-lru: Redis may evict what Readside has written\n\
          set it in redis.conf, or type: CONFIG SET maxmemory-policy noeviction"
        ]
    );
    ::redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory-policy", "volatile-ttl"])
        .exec_async(&mut client)
        .await
        .unwrap();
    assert!(said(&config, OWNER, &orders).await.is_empty());
    let mut expiring = orders.clone();
    let Target::Redis(target) = &mut expiring.targets[0] else { unreachable!() };
    target.ttl = Some(60);
    assert_eq!(said(&config, OWNER, &expiring).await.len(), 1);

    config.username = Some("app".into());
    config.password = Some(Secret::new("pw"));
    assert_eq!(
        said(&config, OWNER, &orders).await,
        [
            "sink.cache: the Redis user lacks permissions for: HLEN order:0, TYPE customer:0:orders, \
          ZADD customer:0:orders, ZREM customer:0:orders, ZSCAN customer:0:orders, \
          PERSIST customer:0:orders\n\
          grant the keys of your templates and readside:*, and the commands, such as\n\
          ACL SETUSER app ~readside:* ~order:* +@read +@write +@scripting +@transaction +@connection +info"
        ]
    );
    // Without MULTI nothing can be queued; what only reads tells enough.
    set_user(&redis, "app", &["resetkeys", "-@all", "~order:*", "+get"]).await;
    let found = said(&config, OWNER, &orders).await;
    assert!(
        found.len() == 1
            && found[0].starts_with("sink.cache: the Redis user lacks permissions for: HMGET")
            && found[0].contains("EVALSHA"),
        "{found:?}"
    );
    config.username = None;
    config.password = None;
    assert!(everything(&mut client).await.is_empty(), "check has written");

    ::redis::cmd("REPLICAOF").arg(&["127.0.0.1", "1"]).exec_async(&mut client).await.unwrap();
    assert_eq!(
        said(&config, OWNER, &orders).await,
        ["sink.cache: this Redis is a replica and takes no writes\nname its master in the url"]
    );
    ::redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec_async(&mut client).await.unwrap();

    drop(started(&redis, &orders, &[]).await);
    let found = said(&config, "9/other", &orders).await;
    assert!(
        found[0].starts_with("sink.cache: orders in this Redis belongs to another pipeline"),
        "{found:?}"
    );

    let faulty = self::orders(vec![
        hash("order:{id}"),
        sorted_set("x", "{order_id}", "price"),
        sorted_set("x", "{order_id}", "status"),
    ]);
    let found = said(&config, OWNER, &faulty).await;
    assert_eq!(
        found,
        [
            "projection.orders: the template names \"id\", which is no column\n\
             name a column of the projection, or write {{ and }} for braces",
            "projection.orders: the score \"price\": there is no column `price`\n\
             a score is a column or a numeric expression over the row",
            "projection.orders: the score \"status\" is of type text\n\
             a score is a column of numbers or of times",
        ]
    );

    config.url = Secret::new("redis://127.0.0.1:1");
    let found = said(&config, OWNER, &orders).await;
    assert!(
        found[0]
            .starts_with("sink.cache: cannot connect to 127.0.0.1:1: the connection is refused"),
        "{found:?}"
    );
    config.url = Secret::new("http://secret@x");
    let found = said(&config, OWNER, &orders).await;
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("sink.cache: the url is none of Redis")
            && !found[0].contains("secret"),
        "{found:?}"
    );
}
