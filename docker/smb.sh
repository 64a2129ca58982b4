#!/bin/sh
# Starts the Samba server of the profile `smb`, with one user: who owns the folders.
set -eu
if [ -z "${SMB_PASSWORD:-}" ]; then
    echo "set SMB_PASSWORD in .env: the shares are for those who know it" >&2
    exit 78
fi
user=$(getent passwd "$NB_UID" | cut -d: -f1)
mkdir -p /run/samba
sed "s/%%USER%%/$user/" /etc/inbox-runner/smb.conf > /run/samba/smb.conf
printf '%s\n%s\n' "$SMB_PASSWORD" "$SMB_PASSWORD" |
    pdbedit --configfile=/run/samba/smb.conf --create --user="$user" --password-from-stdin > /dev/null
echo "shares inbox, outbox and notebooks for the user $user"
exec smbd --foreground --no-process-group --debug-stdout --configfile=/run/samba/smb.conf
