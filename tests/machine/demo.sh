# What `make demo` shows, from inside the machine: a web server in a container, from bundle to nothing left.
set -eu
runtime=${RUNTIME:-/usr/bin/pyoci}
name=$(basename "$runtime")
cd /tmp

say() { printf '\n# %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; eval "$*"; }
fetch='nsenter --net --target $(cat web.pid) busybox wget -q -O - http://127.0.0.1:8080/'

say "the machine: a real systemd, on a Debian of its own"
show "systemctl --version | head -1"
show "systemctl is-system-running"
show "$name --version | head -1"

say "a bundle: this Debian as the root filesystem, with a page in it, and the runtime's default config"
show "mkdir -p web/rootfs layer/srv/www work"
show "echo '<h1>hello from a container</h1>' >layer/srv/www/index.html"
show "mount -t overlay -o lowerdir=/,upperdir=layer,workdir=work web web/rootfs"
show "(cd web && $name spec)"
show "jq '.process.terminal = false | .process.args = [\"python3\", \"-m\", \"http.server\", \"--directory\", \"/srv/www\", \"8080\"]' web/config.json >config && mv config web/config.json"

say "run it; it has a network of its own, with nothing but loopback, so the page is fetched from in there"
show "$name run --detach --pid-file /tmp/web.pid --bundle web web >web.log 2>&1" || { cat web.log; exit 1; }
for _ in $(seq 100); do
    eval "$fetch" >/dev/null 2>&1 && break
    sleep 0.05
done
show "$fetch"

say "what the runtime and systemd say of it"
show "$name list"
show "$name state web"
show "systemctl status --no-pager --lines=0 ${name%% *}-web.scope"
show "systemd-cgls --no-pager --unit ${name%% *}-web.scope"

say "stop it and delete it"
show "$name kill web INT"
for _ in $(seq 100); do
    $name state web | grep -q '"stopped"' && break
    sleep 0.05
done
show "$name delete web"

say "nothing is left"
show "umount web/rootfs"
show "systemctl list-units --all --no-legend '*web*' | tee left"
show "find /sys/fs/cgroup /run -name '*web*' | tee -a left"
show "grep web /proc/self/mountinfo | tee -a left"
show "$name list"
test ! -s left
