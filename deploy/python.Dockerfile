# Functions in Python: the hotel and pay services of examples/trip.
FROM python:3.12-slim
WORKDIR /app
COPY clients/python /sdk
RUN pip install --no-cache-dir /sdk
COPY examples/trip/*.py ./
USER nobody
ENTRYPOINT ["python"]
