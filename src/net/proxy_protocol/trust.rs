//! Whose headers are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The proxies whose word on addresses counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// `None` is everybody.
    networks: Option<Vec<Network>>,
}

impl Trust {
    /// Whoever can connect is believed; right where only proxies can.
    pub fn everybody() -> Self {
        Self::default()
    }

    /// Who connects from one of these is believed.
    pub fn only(networks: Vec<Network>) -> Self {
        Self { networks: Some(networks) }
    }

    /// Whether a header from this address is believed. `None` stands for a unix socket, whose file's mode has decided
    /// already.
    pub fn covers(&self, peer: Option<IpAddr>) -> bool {
        match (&self.networks, peer) {
            (None, _) | (_, None) => true,
            (Some(networks), Some(peer)) => networks.iter().any(|network| network.contains(peer)),
        }
    }
}

/// The addresses with a common beginning: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Without the bits behind the prefix; IPv4 never in its IPv6 form.
    address: IpAddr,
    /// In bits.
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It does not begin with an address.
    #[error("a network is ADDRESS or ADDRESS/PREFIX, as in 10.0.0.0/8 or 2001:db8::/32")]
    Address,
    /// A prefix that an address of its family does not have.
    #[error("the prefix of a network is a number from 0 to {longest}")]
    Prefix {
        /// 32 or 128.
        longest: u8,
    },
    /// The address has bits behind the prefix: one of the two is not what was meant.
    #[error("the address has bits behind the prefix; the network with it is {network}")]
    Bits {
        /// What it would be without them.
        network: Network,
    },
}

impl Network {
    /// Whether the address is one of it. An IPv4 address in its IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.address
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(text) => {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = if digits { text.parse().ok() } else { None };
                prefix.filter(|&prefix| prefix <= longest).ok_or(NetworkError::Prefix { longest })?
            }
        };
        let network = match (address, address.to_canonical()) {
            // The whole of it is IPv4.
            (IpAddr::V6(_), IpAddr::V4(address)) if prefix >= 96 => {
                Self { address: masked(address.into(), prefix - 96), prefix: prefix - 96 }
            }
            _ => Self { address: masked(address, prefix), prefix },
        };
        if masked(address, prefix) == address { Ok(network) } else { Err(NetworkError::Bits { network }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
