#!/bin/sh
# PID 1 of a holder. Each line on stdin is a whole nftables file in base64; the answer is one line,
# `ok` or why not. nft takes a file as one transaction: either all of it counts from now on, or the
# rules stay as they were. The end of stdin, which comes when the service is gone, ends the holder.
trap 'exit 0' TERM INT HUP

while IFS= read -r encoded; do
    if said=$(printf '%s' "$encoded" | base64 -d | nft -f - 2>&1); then
        echo ok
    else
        printf '%s\n' "refused: ${said:-nft gave no reason}" | tr '\n' ' '
        echo
    fi
done
