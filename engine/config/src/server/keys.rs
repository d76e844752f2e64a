//! Every key nats-server knows, with its other spellings, and whether this release does it.

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// All spellings, lower case; the first is the one that is looked up.
    pub(super) names: &'static [&'static str],
    pub(super) supported: bool,
}

const fn does(names: &'static [&'static str]) -> Key {
    Key {
        names,
        supported: true,
    }
}

const fn later(names: &'static [&'static str]) -> Key {
    Key {
        names,
        supported: false,
    }
}

pub(super) const TOP: &[Key] = &[
    does(&["listen"]),
    does(&["port"]),
    does(&["host", "net"]),
    does(&["server_name"]),
    does(&["http"]),
    does(&["http_port", "monitor_port"]),
    does(&["jetstream"]),
    does(&["store_dir", "storedir"]),
    does(&["authorization"]),
    does(&["max_payload"]),
    does(&["max_control_line"]),
    does(&["max_pending"]),
    does(&["max_connections", "max_conn"]),
    does(&["ping_interval"]),
    does(&["ping_max"]),
    does(&["write_deadline"]),
    does(&["debug"]),
    does(&["trace"]),
    does(&["trace_verbose"]),
    does(&["logtime"]),
    does(&["log_file", "logfile"]),
    does(&["pid_file", "pidfile"]),
    does(&["ports_file_dir"]),
    does(&["millstream"]),
    later(&["lame_duck_duration"]),
    later(&["lame_duck_grace_period"]),
    later(&["client_advertise"]),
    later(&["trace_headers"]),
    later(&["logtime_utc"]),
    later(&["mappings", "maps"]),
    later(&["disable_sublist_cache", "no_sublist_cache"]),
    later(&["accounts"]),
    later(&["https"]),
    later(&["https_port"]),
    later(&["http_base_path"]),
    later(&["cluster"]),
    later(&["gateway"]),
    later(&["leafnodes", "leaf"]),
    later(&["logfile_size_limit", "log_size_limit"]),
    later(&["logfile_max_num", "log_max_num"]),
    later(&["syslog"]),
    later(&["remote_syslog"]),
    later(&["prof_port"]),
    later(&["prof_block_rate"]),
    later(&["max_traced_msg_len"]),
    later(&["max_subscriptions", "max_subs"]),
    later(&["max_subscription_tokens", "max_sub_tokens"]),
    later(&["max_closed_clients"]),
    later(&["tls"]),
    later(&["ocsp"]),
    later(&["ocsp_cache"]),
    later(&["allow_non_tls"]),
    later(&["write_timeout"]),
    later(&[
        "operator",
        "operators",
        "roots",
        "root",
        "root_operators",
        "root_operator",
    ]),
    later(&["resolver", "account_resolver", "accounts_resolver"]),
    later(&["resolver_tls"]),
    later(&["resolver_preload"]),
    later(&["resolver_pinned_accounts"]),
    later(&["trusted_keys", "trusted"]),
    later(&["no_auth_user"]),
    later(&["default_sentinel"]),
    later(&["system_account", "system"]),
    later(&["no_system_account", "no_system", "no_sys_acc"]),
    later(&["no_header_support"]),
    later(&["connect_error_reports"]),
    later(&["reconnect_error_reports"]),
    later(&["websocket", "ws"]),
    later(&["mqtt"]),
    later(&["server_tags"]),
    later(&["server_metadata"]),
    later(&["default_js_domain"]),
    later(&["no_fast_producer_stall"]),
    later(&["cluster_traffic"]),
    later(&["proxy_protocol"]),
    later(&["proxies"]),
    later(&["feature_flags"]),
];

pub(super) const JETSTREAM: &[Key] = &[
    does(&["enabled", "enable"]),
    does(&["store_dir", "storedir", "dir"]),
    does(&["max_memory_store", "max_mem_store", "max_mem", "max_memory"]),
    does(&["max_file_store", "max_file"]),
    does(&["sync_interval", "sync"]),
    does(&["strict"]),
    later(&["domain"]),
    does(&["key", "ek", "encryption_key"]),
    does(&["prev_key", "prev_ek", "prev_encryption_key"]),
    does(&["cipher"]),
    later(&["tpm"]),
    later(&["unique_tag"]),
    later(&["extension_hint"]),
    later(&["max_outstanding_catchup"]),
    later(&["max_buffered_size"]),
    later(&["max_buffered_msgs"]),
    later(&["request_queue_limit"]),
    later(&["info_queue_limit"]),
    later(&["meta_compact"]),
    later(&["meta_compact_size"]),
    later(&["meta_compact_sync"]),
    later(&["max_concurrent_io"]),
    later(&["limits"]),
];

pub(super) const AUTHORIZATION: &[Key] = &[
    does(&["user", "username"]),
    does(&["password", "pass"]),
    does(&["token"]),
    does(&["users"]),
    does(&["timeout"]),
    later(&["permissions", "default_permissions", "default_permission"]),
    later(&["auth_callout", "auth_hook"]),
    later(&["proxy_required"]),
];

pub(super) const USER: &[Key] = &[
    does(&["user", "username"]),
    does(&["password", "pass"]),
    later(&["nkey"]),
    later(&["permissions", "permission", "authorization"]),
    later(&["allowed_connection_types", "connection_types", "clients"]),
    later(&["proxy_required"]),
];

pub(super) const MILLSTREAM: &[Key] = &[
    does(&["allow_private_addresses"]),
    does(&["journal_file_size"]),
    does(&["journal_cache"]),
    does(&["index_cache"]),
    does(&["schema_registry"]),
    does(&["postgres"]),
];

/// Of a door that only has an address.
pub(super) const DOOR: &[Key] = &[does(&["listen"])];

/// Of the door for PostgreSQL's clients.
pub(super) const POSTGRES: &[Key] = &[does(&["listen"]), does(&["tls"])];

/// Of a certificate.
pub(super) const CERTIFICATE: &[Key] = &[does(&["cert_file"]), does(&["key_file"])];
