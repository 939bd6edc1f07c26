//! The task operations, called as the front door calls them.

mod look;
mod run;

use crate::testing::World;
use serde_json::json;

async fn world() -> World {
    let world = World::new().await;
    world.define("web", json!({})).await;
    world
}
