//! A live cluster's metadata pool: as the store of a life, and read object by object for `dump`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use unwedge::io::ExternalCompletion;
use unwedge::{Completion, Stop};
use unwedge_rados::{Cluster, Pool, RadosError};

use crate::decode::{Damage, Omap};
use crate::life::{Fault, Store};
use crate::packed::unpack;
use crate::pool::{Objects, RADOS};

/// Where a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    conf: PathBuf,
    pool: String,
}

impl Place {
    /// Takes `rados:CONF:POOL` apart; `None` for anything that does not begin so.
    pub fn parse(name: &Path) -> anyhow::Result<Option<Place>> {
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(RADOS)) else { return Ok(None) };
        let Some((conf, pool)) = rest.rsplit_once(':').filter(|(conf, pool)| !conf.is_empty() && !pool.is_empty())
        else {
            bail!("{} is no rados:CONF:POOL", name.display());
        };
        Ok(Some(Place { conf: conf.into(), pool: pool.into() }))
    }

    /// Connects, and blocks for it; a stop of the domain ends that.
    fn open(&self, stop: &Stop) -> anyhow::Result<(Cluster, Pool)> {
        // What librados has to say of connections that come and go is nothing for who runs this.
        let quiet = Cluster::builder(&self.conf).option("log_to_stderr", "false").option("err_to_stderr", "false");
        let cluster = quiet.connect(stop).wait()?.context("cannot connect to the cluster")?;
        let pool = cluster.pool(&self.pool).wait()?.context("cannot open the pool")?;
        Ok((cluster, pool))
    }
}

/// The store of a life on a live cluster.
#[derive(Clone, Debug)]
pub struct RadosStore {
    cluster: Cluster,
    pool: Pool,
    domain: Stop,
}

impl RadosStore {
    /// Opens the pool, and blocks for it; a stop of the domain ends that.
    pub fn open(stop: &Stop, place: &Place) -> anyhow::Result<RadosStore> {
        let (cluster, pool) = place.open(stop)?;
        Ok(RadosStore { cluster, pool, domain: stop.clone() })
    }

    /// The completion of what is made of another one's value.
    fn then<T: Send + 'static, U: Send + 'static>(
        &self,
        name: &'static str,
        first: ExternalCompletion<T, RadosError>,
        make: impl FnOnce(T) -> U + Send + 'static,
    ) -> Completion<U, RadosError> {
        let (completer, completion) = Completion::new(name, &self.domain);
        // If there is no thread for it the completer is dropped with the callback: abandoned.
        drop(first.on_complete(&self.domain, move |result| {
            if let Ok(result) = result {
                drop(completer.finish(result.map(make)));
            }
        }));
        completion
    }
}

impl Store for RadosStore {
    /// Its name: librados knows no open objects.
    type Object = String;
    type OpenError = RadosError;
    type ReadError = RadosError;

    fn within(&self, domain: &Stop) -> RadosStore {
        RadosStore { pool: self.pool.with(domain), domain: domain.clone(), ..self.clone() }
    }

    fn open(&self, oid: &str) -> Completion<String, RadosError> {
        let name = oid.to_owned();
        self.then("open", self.pool.stat(oid), move |_| name)
    }

    fn read_at(&self, object: &String, offset: u64, len: usize) -> Completion<Vec<u8>, RadosError> {
        self.pool.read(object, offset, len).into_completion()
    }

    fn omap(&self, oid: &str) -> Completion<Vec<u8>, RadosError> {
        self.then("omap", self.pool.omap(oid), |omap| pack(&omap))
    }

    fn decode_omap(&self, oid: &str, raw: &[u8]) -> Result<Omap, Damage> {
        unpack(raw).ok_or_else(|| Damage::new(oid, 0, "a key is no text").in_part("omap"))
    }

    fn silence(&self) -> Duration {
        self.cluster.silence()
    }

    fn save(&self, oid: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        let (completer, completion) = Completion::new("save", &self.domain);
        drop(self.pool.write_full(oid, bytes).on_complete(&self.domain, move |result| {
            if let Ok(result) = result {
                drop(completer.complete(result.map_err(|error| error.to_string())));
            }
        }));
        completion
    }
}

impl Fault for RadosError {
    fn is_missing(&self) -> bool {
        RadosError::is_missing(self)
    }
}

/// An omap in one piece: header, keys and values, each with its length.
fn pack(omap: &unwedge_rados::Omap) -> Vec<u8> {
    let parts = || omap.entries.iter().flat_map(|(key, value)| [key, value]);
    let len = parts().chain([&omap.header]).map(|part| part.len() + 4).sum();
    let mut packed = Vec::with_capacity(len);
    for part in std::iter::once(&omap.header).chain(parts()) {
        packed.extend((part.len() as u32).to_le_bytes());
        packed.extend(part);
    }
    packed
}

/// The pool object by object, for a program that may wait.
#[derive(Debug)]
pub struct Plain(Pool);

impl Plain {
    /// Opens the pool.
    pub fn open(place: &Place) -> anyhow::Result<Plain> {
        Ok(Plain(place.open(&Stop::new("dump"))?.1))
    }
}

impl Objects for Plain {
    fn piece(&self, oid: &str, offset: u64, len: u64) -> anyhow::Result<Option<Vec<u8>>> {
        match self.0.read(oid, offset, len as usize).wait()? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn omap(&self, oid: &str) -> anyhow::Result<Omap> {
        let omap = self.0.omap(oid).wait()??;
        unpack(&pack(&omap)).with_context(|| format!("object {oid}: a key of its omap is no text"))
    }
}
