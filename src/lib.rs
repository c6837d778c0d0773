//! keyward: a reverse proxy between n8n and the OpenAI API that knows which workflow node still sends the old key.

pub mod clock;

pub mod tasks;

pub mod telemetry;

pub mod head;

pub mod keys;

pub mod route;

pub mod caller;

pub mod outcome;

pub mod verdict;

pub mod policy;

pub mod metrics;

pub mod openai;

pub mod ledger;

pub mod welcome;

pub mod proxy;

pub mod admin;
