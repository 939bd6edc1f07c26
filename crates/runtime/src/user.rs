//! Who a container's process runs as: `user[:group]` by name or number, resolved in the image's `/etc/passwd` and
//! `/etc/group` as Docker does. Pure over the texts of both files.

/// A resolved user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Further groups the user is a member of.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Resolves `spec`; an empty one is root.
///
/// # Errors
/// In the words of Docker: the user or group has no entry and is no number.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (who, which) = match spec.split_once(':') {
        Some((who, which)) => (who, Some(which)),
        None => (spec, None),
    };
    let who = if who.is_empty() { "0" } else { who };
    // A name wins over a number; a number need not be listed.
    let entries = || passwd.lines().filter_map(Entry::of_passwd);
    let number = who.parse::<u32>().ok();
    let entry = entries()
        .find(|e| e.name == who)
        .or_else(|| entries().find(|e| Some(e.uid) == number));
    let mut user = match (&entry, number) {
        (Some(e), _) => User {
            uid: e.uid,
            gid: e.gid,
            groups: vec![],
            home: e.home.to_owned(),
        },
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(format!("unable to find user {who}: no matching entries in passwd file")),
    };
    if user.home.is_empty() {
        user.home = "/".to_owned();
    }
    match which.filter(|g| !g.is_empty()) {
        // A group given by hand replaces all that the files say.
        Some(which) => user.gid = group_id(which, group)?,
        None => {
            if let Some(entry) = entry {
                user.groups = group.lines().filter_map(|line| member_of(line, entry.name)).collect();
                user.groups.retain(|gid| *gid != user.gid);
            }
        }
    }
    Ok(user)
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn of_passwd(line: &'a str) -> Option<Entry<'a>> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Entry { name, uid, gid, home })
    }
}

fn group_id(which: &str, group: &str) -> Result<u32, String> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        (fields.next()? == which).then(|| fields.nth(1)?.parse().ok())?
    });
    named
        .or_else(|| which.parse().ok())
        .ok_or_else(|| format!("unable to find group {which}: no matching entries in group file"))
}

/// The group's number when `user` is listed in `line`.
fn member_of(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.trim().split(':');
    let gid = fields.nth(2)?.parse().ok()?;
    fields
        .next()?
        .split(',')
        .any(|member| member.trim() == user)
        .then_some(gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/false\n1000:x:7:8::/odd:\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:web\nlogs:x:4:adm,web\nbig:x:500:\n";

    fn of(spec: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve(spec, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups, u.home))
    }

    #[test]
    fn names_bring_their_groups_and_home() {
        assert_eq!(of("web").unwrap(), (33, 33, vec![4], "/var/www".into()));
        assert_eq!(of("33").unwrap(), (33, 33, vec![4], "/var/www".into()));
        assert_eq!(of("").unwrap(), (0, 0, vec![], "/root".into()));
    }

    #[test]
    fn a_group_given_replaces_those_of_the_files() {
        assert_eq!(of("web:big").unwrap(), (33, 500, vec![], "/var/www".into()));
        assert_eq!(of("web:77").unwrap(), (33, 77, vec![], "/var/www".into()));
        assert_eq!(of("4242:logs").unwrap(), (4242, 4, vec![], "/".into()));
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        assert_eq!(of("4242").unwrap(), (4242, 0, vec![], "/".into()));
        assert_eq!(of("1000").unwrap(), (7, 8, vec![], "/odd".into()));
        assert!(of("nobody").unwrap_err().contains("unable to find user nobody"));
        assert!(of("web:none").unwrap_err().contains("unable to find group none"));
        assert!(of("-1").is_err() && of("4294967296").is_err());
    }
}
