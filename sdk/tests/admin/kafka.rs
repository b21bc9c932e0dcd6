//! Clusters and subscriptions. There is no broker: the server does not ask for one.

use durably::{
    Endpoint,
    admin::{Change, KafkaCluster, Subscription},
    prelude::*,
    test_server::RestateServer,
};
use futures::future::join_all;

use crate::{Result, in_time, refused};

struct Orders;

#[durably::object]
impl Orders {
    #[handler]
    async fn on_event(
        &self,
        _ctx: &ObjectContext,
        _event: KafkaEvent<String>,
    ) -> HandlerResult<()> {
        Ok(())
    }
}

#[tokio::test]
async fn clusters_and_subscriptions_are_ensured() -> Result {
    in_time(kafka()).await
}

async fn kafka() -> Result {
    let server = RestateServer::builder().start().await?;
    let admin = server.admin();
    let _served = server
        .serve(Endpoint::builder().bind(Orders).build()?)
        .await?;

    // Clusters.
    let events = KafkaCluster::new("events", "127.0.0.1:1").property("sasl.password", "hush");
    assert_eq!(
        admin.ensure_kafka_cluster(&events).await?.change,
        Change::Created
    );
    assert_eq!(
        admin.ensure_kafka_cluster(&events).await?.change,
        Change::Nothing
    );
    refused(
        &admin.create_kafka_cluster(&events).await.unwrap_err(),
        409,
        None,
    );
    let moved = KafkaCluster::new("events", "127.0.0.1:2");
    assert_eq!(
        admin.ensure_kafka_cluster(&moved).await?.change,
        Change::Updated
    );
    assert_eq!(admin.kafka_clusters().await?, [moved]);
    assert_eq!(
        admin.patch_kafka_cluster(&events).await?.properties["sasl.password"],
        "***"
    );
    let unknown = KafkaCluster::new("nowhere", "127.0.0.1:1");
    refused(
        &admin.patch_kafka_cluster(&unknown).await.unwrap_err(),
        404,
        None,
    );
    let rest = (0..4).map(|_| admin.ensure_kafka_cluster(&unknown));
    let rest = join_all(rest)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let created = rest
        .iter()
        .filter(|one| one.change == Change::Created)
        .count();
    assert_eq!((created, admin.kafka_clusters().await?.len()), (1, 2));

    // Subscriptions.
    let nobody = Subscription::new("kafka://events/orders", "Orders/nobody");
    refused(
        &admin.ensure_subscription(&nobody).await.unwrap_err(),
        400,
        Some("META0009"),
    );
    let orders = Subscription::new("kafka://events/orders", "Orders/on_event").from_earliest();
    let first = admin.ensure_subscription(&orders).await?;
    assert_eq!(first.change, Change::Created);
    let first = first.value;
    assert_eq!(first.options["auto.offset.reset"], "earliest");
    let again = admin.ensure_subscription(&orders).await?;
    assert_eq!(
        (again.change, again.value),
        (Change::Nothing, first.clone())
    );

    // Another option: another subscription, which goes on where that one was.
    let larger = orders.clone().option("fetch.min.bytes", "1000");
    let second = admin.ensure_subscription(&larger).await?;
    assert_eq!(second.change, Change::Updated);
    let second = second.value;
    assert_ne!(second.id, first.id);
    assert_eq!(second.options["group.id"], first.options["group.id"]);
    assert_eq!(admin.subscriptions().await?, std::slice::from_ref(&second));
    assert_eq!(
        admin.ensure_subscription(&larger).await?.change,
        Change::Nothing
    );

    // Others are left alone, and of those who ensure at once all get the same one.
    let other = Subscription::new("kafka://events/returns", "Orders/on_event");
    let all = join_all((0..6).map(|_| admin.ensure_subscription(&other))).await;
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(all.iter().any(|one| one.change == Change::Created));
    let kept = admin.ensure_subscription(&other).await?.value;
    let mut left = admin.subscriptions().await?;
    left.sort_by(|a, b| a.source.cmp(&b.source));
    assert_eq!(left, [second.clone(), kept.clone()]);

    // Doubles that somebody has made by hand are cleared away.
    admin.subscribe(&other).await?;
    assert_eq!(admin.subscriptions().await?.len(), 3);
    assert_eq!(
        admin.ensure_subscription(&other).await?.change,
        Change::Nothing
    );
    assert_eq!(admin.subscriptions().await?.len(), 2);

    refused(
        &admin
            .delete_kafka_cluster("events", false)
            .await
            .unwrap_err(),
        409,
        None,
    );
    for found in admin.subscriptions().await? {
        admin.unsubscribe(&found.id).await?;
        refused(&admin.unsubscribe(&found.id).await.unwrap_err(), 404, None);
    }
    admin.delete_kafka_cluster("events", false).await?;
    admin.delete_kafka_cluster("nowhere", true).await?;
    refused(
        &admin
            .delete_kafka_cluster("events", true)
            .await
            .unwrap_err(),
        404,
        None,
    );
    assert_eq!(admin.kafka_clusters().await?, []);
    Ok(())
}
