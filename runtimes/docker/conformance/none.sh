# image: {image:bash}
:
