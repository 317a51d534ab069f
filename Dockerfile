# The page and the service of `mien serve`:
#   docker build -t mien .
#   docker run --rm -p 127.0.0.1:8000:8000 mien
FROM python:3.13-slim
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY src /src/src
RUN pip install --no-cache-dir "/src[web]" && rm -rf /src && useradd --create-home mien
USER mien
WORKDIR /home/mien
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["mien", "serve", "--host", "0.0.0.0"]
