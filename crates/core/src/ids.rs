//! The id port: random identifiers in AWS's forms.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where identifiers come from.
pub trait Ids: Send + Sync + 'static {
    /// 16 fresh bytes.
    fn bytes(&self) -> [u8; 16];

    /// 32 lower-case hex digits: task ids, container ids.
    fn hex32(&self) -> String {
        hex::encode(self.bytes())
    }

    /// 17 lower-case hex digits, as EC2 uses after `eni-`, `vpc-`, `sg-`.
    fn hex17(&self) -> String {
        let mut text = hex::encode(self.bytes());
        text.truncate(17);
        text
    }

    /// 19 decimal digits, as ECS uses after `ecs-svc/`.
    fn digits19(&self) -> String {
        let n = u128::from_be_bytes(self.bytes());
        format!("{:019}", n % 10_000_000_000_000_000_000)
    }

    /// A version 4 UUID: request ids, event ids.
    fn uuid(&self) -> String {
        let mut b = self.bytes();
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let h = hex::encode(b);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn bytes(&self) -> [u8; 16] {
        let mut out = [0; 16];
        getrandom::fill(&mut out).expect("the operating system gives random bytes");
        out
    }
}

/// 1, 2, 3 …: tests and simulation.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn bytes(&self) -> [u8; 16] {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst) + 1).to_be_bytes()
    }

    fn hex17(&self) -> String {
        self.hex32()[15..].to_owned()
    }
}
