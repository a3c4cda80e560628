# image: {image:bash}
# entrypoint: ["/bin/sh", "-c"]
# command: ["echo \"$(pwd) $HOME $(id -u)\" >&2; jq -c .; echo x > /tmp/a && echo y > $HOME/b"]
