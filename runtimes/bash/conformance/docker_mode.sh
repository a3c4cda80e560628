# docker
docker run x
