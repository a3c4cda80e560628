# image: {image:bash}
# user: image
id -u
touch /job/a /tmp/b "$HOME/c" ./shared/d
