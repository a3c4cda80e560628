# image: {image:bash}
# command: ["no-such-program"]
# entrypoint: []
