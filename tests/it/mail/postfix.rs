//! The same sink against Postfix: what a company's own mail server does. It runs as root alone, with a configuration and
//! queues of its own; where it is missing, the test is left out.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use super::*;

/// A Postfix that takes mail for `compta@example.fr` and `chef@example.fr`, and for nobody else.
struct Postfix {
    folder: tempfile::TempDir,
    with_starttls: u16,
    with_tls: u16,
}

impl Postfix {
    /// None where it cannot run here.
    fn start() -> Option<Self> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root || !Path::new("/usr/sbin/postfix").exists() {
            eprintln!("skipped: Postfix is not installed, or this is not root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let open = |name: &str, mode: u32| fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        for name in ["conf", "queue", "data", "mails"] {
            fs::create_dir(path(name)).unwrap();
        }
        open("", 0o755);
        open("mails", 0o777);
        let (user, group) = owner();
        chown(path("data"), Some(user), Some(group)).unwrap();
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/outgoing_tls");
        for name in ["server.crt", "server.key"] {
            fs::copy(format!("{tls}/{name}"), path(name)).unwrap();
        }
        open("server.key", 0o600);
        let free = || std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (with_starttls, with_tls) = (free(), free());
        let here = folder.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {here}/queue\ndata_directory = {here}/data\n\
             maillog_file = {here}/log\nmaillog_file_prefixes = {here}\nmyhostname = mail.example.fr\nmydestination =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nalias_maps =\nlocal_recipient_maps =\n\
             smtpd_tls_cert_file = {here}/server.crt\nsmtpd_tls_key_file = {here}/server.key\n\
             smtpd_tls_received_header = yes\n\
             smtpd_relay_restrictions = reject_unauth_destination\nvirtual_mailbox_domains = example.fr\n\
             virtual_mailbox_base = {here}/mails\n\
             virtual_mailbox_maps = inline:{{ {{compta@example.fr = compta/}}, {{chef@example.fr = chef/}} }}\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nvirtual_minimum_uid = 1\n"
        );
        fs::write(path("conf/main.cf"), main).unwrap();
        let services = format!(
            "127.0.0.1:{with_starttls} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt\n\
             127.0.0.1:{with_tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n\
             postlog unix-dgram n - n - 1 postlogd\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
             tlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\nproxymap unix - - n - - proxymap\nvirtual unix - n n - - virtual\n\
             error unix - - n - - error\nanvil unix - - n - 1 anvil\n"
        );
        fs::write(path("conf/master.cf"), services).unwrap();
        fs::write(path("conf/dynamicmaps.cf"), "").unwrap();
        let postfix = Self { folder, with_starttls, with_tls };
        assert!(postfix.command("start"), "{}", postfix.log());
        Some(postfix)
    }

    fn command(&self, verb: &str) -> bool {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.path().join("conf")).arg(verb);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The mails in somebody's mailbox.
    fn mails_of(&self, who: &str) -> Vec<String> {
        let folder = fs::read_dir(self.folder.path().join("mails").join(who).join("new"));
        folder.into_iter().flatten().flatten().map(|mail| fs::read_to_string(mail.path()).unwrap()).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("stop");
    }
}

/// The user and the group that Postfix's own files belong to.
fn owner() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postfix:")).expect("its package makes its user");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
    (ids.next().unwrap(), ids.next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_takes_a_mail_over_both_kinds_of_tls() {
    let Some(postfix) = Postfix::start() else { return };
    let urls = [
        format!("smtp://localhost:{}?tls=required", postfix.with_starttls),
        format!("smtps://localhost:{}", postfix.with_tls),
    ];
    for (number, url) in (1..).zip(urls) {
        let (_home, relay) = with(&sink(&url, &["compta@example.fr", "chef@example.fr"], true, "")).await;
        let id = deliver(&relay).await;
        ends_as(&relay, "delivered").await;
        eventually("both have it", async || {
            ["compta", "chef"].into_iter().all(|who| postfix.mails_of(who).len() == number)
        })
        .await;
        let of_this =
            postfix.mails_of("compta").into_iter().find(|mail| mail.contains(&id)).expect("it names its event");
        let mail = MessageParser::default().parse(of_this.as_bytes()).unwrap();
        assert_eq!(mail.message_id(), Some(format!("{id}@example.fr").as_str()));
        assert_eq!(mail.subject(), Some("Paiement reçu\u{a0}: 1\u{202f}500,00\u{a0}€"));
        assert!(of_this.contains("(using TLSv1."), "{of_this}");
    }

    // Without TLS the server takes nothing, and says so for good.
    let (_home, relay) =
        with(&sink(&format!("smtp://localhost:{}", postfix.with_starttls), &["compta@example.fr"], true, "")).await;
    deliver(&relay).await;
    eventually("the sink is paused", async || relay.sink("mail").await["state"] == "paused").await;
    assert_eq!(postfix.mails_of("compta").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_refuses_who_has_no_mailbox_there() {
    let Some(postfix) = Postfix::start() else { return };
    let url = format!("smtps://localhost:{}", postfix.with_tls);
    let (_home, relay) = with(&sink(&url, &["nobody@example.fr"], true, "")).await;
    deliver(&relay).await;
    let dispatch = ends_as(&relay, "dead").await;
    let reason = dispatch["last_error"].as_str().unwrap();
    assert!(reason.contains("550") && reason.contains("nobody@example.fr"), "{reason}");

    let (_home, relay) = with(&sink(&url, &["chef@example.fr", "nobody@example.fr"], true, "")).await;
    deliver(&relay).await;
    let dispatch = ends_as(&relay, "delivered").await;
    let outcome = dispatch["last_error"].to_string();
    assert!(outcome.contains("nobody@example.fr"), "{dispatch}");
    eventually("the other has it", async || postfix.mails_of("chef").len() == 1).await;
}
