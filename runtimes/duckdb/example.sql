-- $numbers (json)
-- result_collection=last_statement_first_row
create table numbers as select unnest(from_json($numbers, '["integer"]')) as n;
copy numbers to 'numbers.parquet';
select count(*) as count, max(n) as max, list(n order by n) as sorted from 'numbers.parquet'
