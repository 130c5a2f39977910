# docker build -t acclimate . && docker run --rm -v "$PWD/runs:/runs" acclimate
# runs the demo on embedded images; docker run acclimate run A B ... runs anything else.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 acclimate && mkdir /runs && chown acclimate /runs
WORKDIR /src

# torch first and from its own index, so that a change of the code fetches nothing and no CUDA comes along
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[export,serve]'

USER 1000
WORKDIR /runs
ENV ACCLIMATE_CACHE=/home/acclimate/.cache/acclimate
EXPOSE 8000
ENTRYPOINT ["acclimate"]
CMD ["run", "digits", "digits-m", "--preset", "demo", "--out", "/runs/demo"]
