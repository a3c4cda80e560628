# image: {image:bash}
# command: echo hello
